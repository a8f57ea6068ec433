"""K-means beside scikit-learn's, on the same rows, rounds and threads: time and inertia.

python bench/kmeans.py [--clusters 10,100,1000] [--rows N] [--rounds 25] [--jobs 2] [--seeds 0,1,2]
"""

import argparse
import time
import warnings

import numpy as np

from lshcore import _core, data, preprocess


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clusters", default="10,100,1000")
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seeds", default="0,1,2")
    arguments = parser.parse_args()

    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    warnings.simplefilter("ignore")  # sklearn's ConvergenceWarning: the rounds are meant to be few
    x = preprocess.Preprocess(centre=True, l2=True).fit_transform(data.load("fashion-mnist").features[: arguments.rows])
    print(f"fashion-mnist {x.shape}, {arguments.rounds} rounds at most, {arguments.jobs} threads, {_core.kernel_set()}")
    print("clusters  ours_s  sklearn_s  times_faster  ours_inertia  sklearn_inertia  excess_%")
    for k in map(int, arguments.clusters.split(",")):
        ours, theirs, our_inertia, their_inertia = [], [], [], []
        for seed in map(int, arguments.seeds.split(",")):
            start = time.perf_counter()
            _, _, inertia, _, _ = _core.kmeans(x, k, seed, arguments.rounds, 1e-4, arguments.jobs)
            ours.append(time.perf_counter() - start)
            our_inertia.append(inertia)
            with threadpool_limits(arguments.jobs):
                start = time.perf_counter()
                peer = KMeans(k, n_init=1, max_iter=arguments.rounds, tol=1e-4, random_state=seed).fit(x)
                theirs.append(time.perf_counter() - start)
            their_inertia.append(peer.inertia_)
        a, b = float(np.median(ours)), float(np.median(theirs))
        i, j = float(np.mean(our_inertia)), float(np.mean(their_inertia))
        print(f"{k:8d}  {a:6.2f}  {b:9.2f}  {b / a:12.1f}  {i:12.2f}  {j:15.2f}  {100 * (i / j - 1):8.3f}", flush=True)


if __name__ == "__main__":
    main()
