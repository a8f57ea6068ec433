#include "arrays.h"
#include "lshcore/kmeans.h"

namespace lshcore::python {

void bind_kmeans(py::module_& m) {
    m.def(
        "kmeans",
        [](const Array<float>& x, std::int64_t n_clusters, std::uint64_t seed, int max_iter, double tol, int n_jobs,
           const py::object& on_round, bool spherical, bool random_seeds, int warm_up, bool on_gpu) {
            const auto rows = matrix(x, "x");
            KMeansOptions options{n_clusters, seed,         max_iter, tol,    n_jobs,
                                  spherical,  random_seeds, warm_up,  on_gpu, nullptr};
            if (!on_round.is_none())
                options.on_round = [&on_round](int round, double inertia) {
                    py::gil_scoped_acquire gil;
                    on_round(round, inertia);
                };
            KMeansResult result;
            {
                py::gil_scoped_release release;
                result = kmeans(rows, options);
            }
            auto centroids = to_array(std::move(result.centroids)).reshape({n_clusters, rows.cols});
            return py::make_tuple(centroids, to_array(std::move(result.labels)), result.inertia, result.rounds,
                                  to_array(std::move(result.spreads)));
        },
        "x"_a.noconvert(), "n_clusters"_a, "seed"_a, "max_iter"_a, "tol"_a, "n_jobs"_a = 1, "on_round"_a = py::none(),
        "spherical"_a = false, "random_seeds"_a = false, "warm_up"_a = 0, "on_gpu"_a = false);
    m.def(
        "assign_clusters",
        [](const Array<float>& x, const Array<float>& centroids, int n_jobs) {
            const auto rows = matrix(x, "x"), centres = matrix(centroids, "centroids");
            auto labels = new_vector<std::int32_t>(rows.rows);
            auto distances = new_vector<float>(rows.rows);
            auto* l = labels.mutable_data();
            auto* d = distances.mutable_data();
            {
                py::gil_scoped_release release;
                assign_clusters(rows, centres, l, d, n_jobs);
            }
            return py::make_tuple(labels, distances);
        },
        "x"_a.noconvert(), "centroids"_a.noconvert(), "n_jobs"_a = 1);
}

}  // namespace lshcore::python
