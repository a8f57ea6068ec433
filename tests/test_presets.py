"""Presets: what their names stand for, spelled out."""

import pytest
import typer

from lshcore.cli.options import LISTS, parse
from lshcore.evaluation.presets import PRESETS, find_preset

K_MEANS = {"method": ["k-means"], "pca": ["none,248"]}
HYPERPLANES = {"method": ["random-hyperplanes"], "tables": ["3,6,12"]}
SPELLED = {
    "report-kmeans": K_MEANS | {"clusters": ["10,20,100,200,1000"]},
    "report-kmeans-cifar100": K_MEANS | {"clusters": ["100,200,500,1000,2000"]},
    "report-kmeans-imagenet": K_MEANS | {"clusters": ["1000,2000,5000,10000"]},
    "report-hyperplanes": HYPERPLANES | {"key-bits": ["3,4,7,8,10"]},
    "report-hyperplanes-cifar100": HYPERPLANES | {"key-bits": ["7..11"]},
    "grh-tutorial": {"method": ["random-hyperplanes,grh"], "bits": ["16"], "radius": ["0..10"]},
}


def test_every_preset_is_spelled_out_here():
    assert list(PRESETS) == list(SPELLED)


@pytest.mark.parametrize("name", SPELLED)
def test_preset_is_short_for_its_options(name):
    preset = find_preset(name)
    assert parse({}, [], preset.lists) == parse(SPELLED[name], []) != parse({}, [])
    assert set(preset.lists) <= set(LISTS)
    assert preset.protocol == ("grh-tutorial" if name == "grh-tutorial" else None)


@pytest.mark.parametrize(("given", "sweeps"), [({"clusters": ["7"]}, []), ({}, ["clusters=7"])])
def test_what_is_given_wins(given, sweeps):
    options = parse(given, sweeps, find_preset("report-kmeans").lists)
    assert options == parse(K_MEANS | {"clusters": ["7"]}, [])


def test_none_is_no_preset():
    assert parse({}, [], find_preset(None).lists) == parse({}, [])


def test_unknown_preset_names_the_known():
    with pytest.raises(ValueError, match=r"one of report-kmeans, .*, grh-tutorial, got report$"):
        find_preset("report")


def test_sweep_of_what_is_given_is_still_an_error():
    with pytest.raises(typer.BadParameter, match="clusters is set twice"):
        parse({"clusters": ["7"]}, ["clusters=8"], find_preset("report-kmeans").lists)
