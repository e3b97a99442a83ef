"""Settings out of range are refused before anything is loaded."""

import math

import pytest

from fairmot.core.errors import ConfigError
from fairmot.training.augment_settings import AugmentSettings, CrowdSettings, PhotometricSettings
from fairmot.training.settings import TrainSettings


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"),
    [
        (TrainSettings, "architecture", "dla34", 'no architecture "dla34".* Did you mean "dla_34"'),
        (TrainSettings, "size", (100, 60), "settings.size must be width and height, multiples of 32"),
        (TrainSettings, "size", (96, 72), "multiples of 32"),
        (TrainSettings, "size", (32, 32), "at least 64"),
        (TrainSettings, "size", (0, 64), "at least 64"),
        (TrainSettings, "sets", {"a": -1.0}, "settings.sets must give a a share of at least 0, not -1.0"),
        (TrainSettings, "sets", {"a": math.nan}, "settings.sets must give a a share"),
        (TrainSettings, "sets", {"a": 0.0}, "at least one set a share above 0"),
        (TrainSettings, "steps", 0, "settings.steps must be at least 1, not 0"),
        (TrainSettings, "batch", 0, "settings.batch must be at least 1"),
        (TrainSettings, "learning_rate", 0.0, "settings.learning_rate must be above 0"),
        (TrainSettings, "learning_rate", math.inf, "settings.learning_rate must be above 0"),
        (TrainSettings, "weight_decay", -0.1, "settings.weight_decay must be at least 0"),
        (TrainSettings, "warmup", -1, "settings.warmup must be at least 0"),
        (TrainSettings, "ema", 1.5, "settings.ema must be between 0 and 1"),
        (TrainSettings, "crowds", -1, "settings.crowds must be at least 0"),
        (TrainSettings, "pasted", -1, "settings.pasted must be"),
        (TrainSettings, "pasted_people", 0, "settings.pasted_people must be"),
        (TrainSettings, "scenes", -1, "settings.scenes must be"),
        (TrainSettings, "sheets", -1, "settings.sheets must be"),
        (TrainSettings, "side", 0, "settings.side must be"),
        (TrainSettings, "workers", 0, "settings.workers must be"),
        (TrainSettings, "seed", -1, "settings.seed must be between 0 and"),
        (AugmentSettings, "mosaic", 1.1, "settings.augment.mosaic must be between 0 and 1"),
        (AugmentSettings, "whole", -0.1, "settings.augment.whole must be"),
        (AugmentSettings, "height_range", (0.0, 9.0), "settings.augment.height_range must be above 0"),
        (AugmentSettings, "scale_range", (3.0, 0.3), "settings.augment.scale_range must begin with the smaller number"),
        (AugmentSettings, "cover", -1.0, "settings.augment.cover must be"),
        (AugmentSettings, "rotation", 4.0, "settings.augment.rotation must be"),
        (AugmentSettings, "stretch", math.nan, "settings.augment.stretch must be"),
        (AugmentSettings, "boxes", 0, "settings.augment.boxes must be at least 1"),
        (AugmentSettings, "minimum_height", -1.0, "settings.augment.minimum_height must be"),
        (AugmentSettings, "visible", 2.0, "settings.augment.visible must be"),
        (PhotometricSettings, "motion", -1.0, "settings.augment.photometric.motion must be"),
        (PhotometricSettings, "motion_length", (5.0, 1.0), "settings.augment.photometric.motion_length must begin"),
        (PhotometricSettings, "jpeg", 2.0, "settings.augment.photometric.jpeg must be between 0 and 1, not 2.0"),
        (PhotometricSettings, "jpeg_quality", (0.0, 50.0), "settings.augment.photometric.jpeg_quality must be"),
        (CrowdSettings, "soft_edge", (2.0, 1.0), "settings.crowd.soft_edge must begin"),
        (CrowdSettings, "color_match", 2.0, "settings.crowd.color_match must be"),
        (CrowdSettings, "rotation", -1.0, "settings.crowd.rotation must be"),
        (CrowdSettings, "perspective", 0.6, "settings.crowd.perspective must be"),
        (CrowdSettings, "appearance", -1.0, "settings.crowd.appearance must be"),
    ],
)
def test_values_out_of_range(kind, name, value, message):
    with pytest.raises(ConfigError, match=message):
        kind(**{name: value})


@pytest.mark.parametrize(
    ("count", "made"), [("crowds", "crowd"), ("pasted", "pasted"), ("scenes", "scene"), ("sheets", "market1501")]
)
def test_made_sets_have_pictures(count, made):
    TrainSettings(sets={"mine": 1.0}, **{count: 0})
    with pytest.raises(ConfigError, match=f"settings.{count} must be at least 1"):
        TrainSettings(sets={made: 1.0}, **{count: 0})
