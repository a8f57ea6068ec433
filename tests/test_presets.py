"""Presets: what their names stand for, spelled out."""

from dataclasses import replace

import pytest
import typer

from lshcore.cli.options import LISTS, parse
from lshcore.evaluation.presets import PRESETS, find_preset

K_MEANS = {"method": ["k-means"], "pca": ["none,248"]}
NEURAL = {"method": ["neural-lsh"], "bits": ["800"], "tables": ["8"], "keys": ["sample"]}
HYPERPLANES = {"method": ["random-hyperplanes"], "tables": ["3,6,12"]}
SPELLED = {
    "report-kmeans": K_MEANS | {"clusters": ["10,20,100,200,1000"]},
    "report-kmeans-cifar100": K_MEANS | {"clusters": ["100,200,500,1000,2000"]},
    "report-kmeans-imagenet": K_MEANS | {"clusters": ["1000,2000,5000,10000"]},
    "report-hyperplanes": HYPERPLANES | {"key-bits": ["3,4,7,8,10"]},
    "report-hyperplanes-cifar100": HYPERPLANES | {"key-bits": ["7..11"]},
    "grh-tutorial": {"method": ["random-hyperplanes,grh"], "bits": ["16"], "radius": ["0..10"]},
    "report-neural-lsh": NEURAL | {"key-bits": ["4,8,16,32"]},
    "report-neural-lsh-imagenet": NEURAL | {"key-bits": ["20,80,100"]},
    "permgnn": NEURAL | {"bits": ["16"], "tables": ["10"], "key-bits": ["8"]},
    "learning-to-hash": {
        "method": ["dsh,hashnet,bihalf", "itq,spectral-hashing,random-hyperplanes"],
        "bits": ["8,16,32,64"],
        "tables": ["1"],
        "key-bits": ["16"],
    },
}
REPORT_NEURAL = ["alpha=0.3", "beta=0.3", "epochs=20", "learning_rate=1e-3"]
ARGUMENTS = {
    "report-neural-lsh": REPORT_NEURAL,
    "report-neural-lsh-imagenet": REPORT_NEURAL,
    "permgnn": ["alpha=0.01", "beta=0.01"],
}


def test_every_preset_is_spelled_out_here():
    assert list(PRESETS) == list(SPELLED)


@pytest.mark.parametrize("name", SPELLED)
def test_preset_is_short_for_its_options(name):
    preset = find_preset(name)
    assert parse({}, [], preset) == parse(SPELLED[name], [], arguments=ARGUMENTS.get(name, [])) != parse({}, [])
    assert set(preset.lists) <= set(LISTS)
    assert preset.protocol == ("grh-tutorial" if name == "grh-tutorial" else None)


@pytest.mark.parametrize(("given", "sweeps"), [({"clusters": ["7"]}, []), ({}, ["clusters=7"])])
def test_what_is_given_wins(given, sweeps):
    options = parse(given, sweeps, find_preset("report-kmeans"))
    assert options == parse(K_MEANS | {"clusters": ["7"]}, [])


def test_arguments_that_are_given_win():
    options = parse({}, [], find_preset("report-neural-lsh"), ["epochs=3", "quantile=0.8"])
    assert options.arguments == {"alpha": 0.3, "beta": 0.3, "epochs": 3, "learning_rate": 1e-3, "quantile": 0.8}


def test_arguments_of_a_preset_are_only_for_what_has_them():
    options = parse({"method": ["itq"]}, [], find_preset("permgnn"))
    assert options == replace(
        parse(SPELLED["permgnn"] | {"method": ["itq"]}, []), arguments={"alpha": 0.01, "beta": 0.01}
    )


def test_none_is_no_preset():
    assert parse({}, [], find_preset(None)) == parse({}, [])


def test_unknown_preset_names_the_known():
    with pytest.raises(ValueError, match=r"one of report-kmeans, .*, grh-tutorial, .*, got report$"):
        find_preset("report")


def test_sweep_of_what_is_given_is_still_an_error():
    with pytest.raises(typer.BadParameter, match="clusters is set twice"):
        parse({"clusters": ["7"]}, ["clusters=8"], find_preset("report-kmeans"))
