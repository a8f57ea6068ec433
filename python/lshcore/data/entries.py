"""The table of data sets known by name: what each is, how it can lie on disk, and how to get it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .cifar import BATCHES
from .idx import FILES as IDX_FILES
from .images import DEFAULT_BACKBONE, PIXELS
from .lists import GALLERY, QUERY, TRAIN


@dataclass(frozen=True)
class Layout:
    """One way in which the files of a data set lie on disk.

    Parameters
    ----------
    loader : str
        "module:function"; ``loader(entry, folder)`` returns an `ImageSet`, or a `Dataset` of given features.
    folders : tuple of str
        Where the files lie under a data directory, the usual place first; "." is the directory itself.
    needs : tuple of str
        Glob patterns; a folder holds the data set if each matches something. Alternatives are separated by "|".
    holds : str
        The files in words, to be read after "put".
    download : str
        Who can fetch it: "torchvision:CLASS", or "hub:OWNER/NAME@REVISION" for Hugging Face, where no revision means
        the newest. Empty where nobody can.
    system : tuple of str
        Folders looked into where no data directory was named.
    """

    loader: str
    folders: tuple[str, ...]
    needs: tuple[str, ...]
    holds: str
    download: str = ""
    system: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One data set of the catalogue.

    Parameters
    ----------
    name, title : str
        `title` is what it is, in one line.
    items : int
    size : str
        What the files take on disk.
    protocol : str
        Default protocol.
    obtain : str
        How to get it, to be read after "put ... there, or".
    layouts : tuple of Layout
        In order of preference.
    class_names : tuple of str
        Where the files do not name them.
    n_classes : int
        Where the files have a column for each.
    backbone : str
        What makes features of it unless told otherwise; "pixels" where all images are small and of one size.
    loader, locator : str
        "module:function". ``loader(entry, data_dir)`` returns what a layout's loader does; ``locator(entry, data_dir)``
        returns where it was found, or None, without reading it.
    """

    name: str
    title: str
    items: int
    size: str
    protocol: str
    obtain: str
    layouts: tuple[Layout, ...] = ()
    class_names: tuple[str, ...] = ()
    n_classes: int = 0
    backbone: str = DEFAULT_BACKBONE
    loader: str = "lshcore.data.places:load"
    locator: str = "lshcore.data.places:locate"


def _idx(folder: str, download: str, system: tuple[str, ...] = ()) -> Layout:
    return Layout(
        loader="lshcore.data.idx:load",
        folders=(folder, "."),
        needs=tuple(f"{name}|{name}.gz" for name in IDX_FILES),
        holds=f"{', '.join(IDX_FILES)}, raw or .gz,",
        download=download,
        system=system,
    )


def _batches(name: str, folder: str, download: str) -> Layout:
    files = BATCHES[name].files
    return Layout(
        loader="lshcore.data.cifar:load",
        folders=(folder, "."),
        needs=files,
        holds=", ".join(files),
        download=download,
    )


def _shards(repository: str, revision: str, *splits: str, gated: bool = False) -> Layout:
    """Images in Parquet shards, in a folder called as the repository, or as the second part of its name."""
    patterns = tuple("|".join(f"{place}{split}-*.parquet" for place in ("", "*/")) for split in splits)
    return Layout(
        loader="lshcore.data.parquet:load_images",
        folders=(repository, repository.partition("/")[2]),
        needs=patterns,
        holds=" and ".join(f"{split}-*.parquet" for split in splits),
        download="" if gated else f"hub:{repository}@{revision}",
    )


def _features(repository: str) -> Layout:
    return Layout(
        loader="lshcore.data.parquet:load_features",
        folders=(repository, repository.partition("/")[2]),
        needs=("*.parquet|*/*.parquet",),
        holds="the .parquet files",
        download=f"hub:{repository}@",
    )


def _lists(loader: str, *folders: str) -> Layout:
    names = (TRAIN, QUERY, GALLERY)
    return Layout(
        loader=f"lshcore.data.lists:{loader}",
        folders=folders,
        needs=names,
        holds=f"{', '.join(names)} and the images that they list",
    )


def _hub(repository: str, revision: str = "") -> str:
    at = f" --revision {revision}" if revision else ""
    return f"`hf download {repository} --repo-type dataset{at} --local-dir DIR/{repository}`"


_CIFAR10 = ("uoft-cs/cifar10", "0b2714987fa478483af9968de7c934580d0bb9a2")
_CIFAR100 = ("uoft-cs/cifar100", "aadb3af77e9048adbea6b47c21a81e47dd092ae5")
_RESIZED = ("evanarlian/imagenet_1k_resized_256", "8de107e08d1f61884d5a4ec2dea8740667264a60")
_FULL = ("ILSVRC/imagenet-1k", "49e2ee26f3810fb5a7536bbf732a7b07389a47b5")
_VIT10, _VIT100 = "aaaakash001/cifar10_Vit_large", "aaaakash001/cifar100_Vit_large"

_HASHNET = "the lists of the HashNet repository (github.com/thuml/HashNet, pytorch/data)"

_ENTRIES = (
    Entry(
        name="digits",
        title="handwritten digits, 8 x 8 pixels, 10 classes (part of scikit-learn)",
        items=1797,
        size="70 kB",
        protocol="holdout",
        obtain="it comes with scikit-learn",
        backbone=PIXELS,
        loader="lshcore.data.digits:load",
        locator="lshcore.data.digits:locate",
    ),
    Entry(
        name="mnist",
        title="handwritten digits, 28 x 28 pixels, 10 classes",
        items=70_000,
        size="12 MB",
        protocol="official",
        obtain="let torchvision fetch it there: `torchvision.datasets.MNIST(DIR, download=True)`",
        layouts=(_idx("MNIST/raw", "torchvision:MNIST"),),
        class_names=tuple("0123456789"),
        backbone=PIXELS,
    ),
    Entry(
        name="fashion-mnist",
        title="articles of clothing, 28 x 28 pixels, 10 classes",
        items=70_000,
        size="31 MB",
        protocol="official",
        obtain="on Debian and Ubuntu `apt install dataset-fashion-mnist`, which is found by itself",
        layouts=(_idx("FashionMNIST/raw", "torchvision:FashionMNIST", system=("/usr/share/datasets/fashion-mnist",)),),
        class_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        backbone=PIXELS,
    ),
    Entry(
        name="cifar10",
        title="photographs, 32 x 32 pixels, 10 classes",
        items=60_000,
        size="180 MB",
        protocol="official",
        obtain=f"let torchvision fetch it: `torchvision.datasets.CIFAR10(DIR, download=True)`, or {_hub(*_CIFAR10)}",
        layouts=(
            _batches("cifar10", "cifar-10-batches-py", "torchvision:CIFAR10"),
            _shards(*_CIFAR10, "train", "test"),
        ),
        backbone=PIXELS,
    ),
    Entry(
        name="cifar100",
        title="photographs, 32 x 32 pixels, 100 classes",
        items=60_000,
        size="180 MB",
        protocol="official",
        obtain=f"let torchvision fetch it: `torchvision.datasets.CIFAR100(DIR, download=True)`, or {_hub(*_CIFAR100)}",
        layouts=(
            _batches("cifar100", "cifar-100-python", "torchvision:CIFAR100"),
            _shards(*_CIFAR100, "train", "test"),
        ),
        backbone=PIXELS,
    ),
    Entry(
        name="cifar10-vit-large",
        title="cifar10 as 1,024 features of a ViT-L/32, made by others",
        items=60_000,
        size="about 0.5 GB",
        protocol="official",
        obtain=_hub(_VIT10),
        layouts=(_features(_VIT10),),
    ),
    Entry(
        name="cifar100-vit-large",
        title="cifar100 as 1,024 features of a ViT-L/32, made by others",
        items=60_000,
        size="about 0.5 GB",
        protocol="official",
        obtain=_hub(_VIT100),
        layouts=(_features(_VIT100),),
    ),
    Entry(
        name="imagenet",
        title="photographs, 1,000 classes; the validation part queries",
        items=1_331_167,
        size="150 GB, or about 25 GB resized to 256 pixels",
        protocol="official",
        obtain=f"{_hub(*_RESIZED)} for the resized images, or {_hub(*_FULL)} with an account that accepted their terms",
        layouts=(
            Layout(
                loader="lshcore.data.folder:imagenet",
                folders=("imagenet", "ILSVRC2012", "."),
                needs=("train/n[0-9]*/", "val/n[0-9]*/"),
                holds="train/WNID/*.JPEG and val/WNID/*.JPEG",
            ),
            _shards(*_FULL, "train", "validation", gated=True),
            _shards(*_RESIZED, "train", "val"),
        ),
    ),
    Entry(
        name="imagenet100",
        title="100 classes of imagenet, as learning to hash is measured on them",
        items=133_503,
        size="about 17 GB",
        protocol="imagenet100",
        obtain=f"take {_HASHNET} and link the images of imagenet beside them",
        layouts=(_lists("load_one_hot", "imagenet100", "imagenet_100"),),
        n_classes=100,
    ),
    Entry(
        name="nuswide-21",
        title="photographs of Flickr, the 21 most frequent labels, several an image",
        items=195_834,
        size="several GB",
        protocol="nuswide-21",
        obtain="take the lists and images of the repository swuxyj/DeepHash-pytorch (its README links both)",
        layouts=(_lists("load_multi_label", "nuswide_21", "nuswide-21"),),
        n_classes=21,
    ),
    Entry(
        name="nuswide-81",
        title="photographs of Flickr, 81 labels, several an image",
        items=173_692,
        size="several GB",
        protocol="nuswide-81",
        obtain=f"take {_HASHNET}, whose README links the images",
        layouts=(_lists("load_multi_label", "nuswide_81", "nuswide-81"),),
        n_classes=81,
    ),
)

CATALOGUE: Mapping[str, Entry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
