"""Spaces of architectures: levels, samples, and what is refused before anything is trained."""

from itertools import product

import pytest
from scipy.stats import chisquare

from marketplace.errors import Refused
from marketplace.space import sampled, space_of
from models.config import CROSSINGS

BASE = '[base]\nkind = "network"\nhidden = [32]\n'


def of(tmp_path, text):
    (tmp_path / "space.toml").write_text(text)
    return space_of(tmp_path / "space.toml")


def test_the_base_s_own_value_is_the_first_level_wherever_it_stands_among_the_values(tmp_path):
    space = of(
        tmp_path, BASE + '[space]\nhidden = [[64], [32]]\nembedding = [32, 48, 32]\ncrossing = ["dcnv2", "none"]\n'
    )

    assert space.levels == {"hidden": ([32], [64]), "embedding": (16, 32, 48), "crossing": ("none", "dcnv2")}
    assert space.size == 2 * 3 * 2
    assert space.config((0, 0, 0)) == space.base


def test_a_dotted_name_sets_what_lies_below_and_leaves_its_neighbours(tmp_path):
    base = '[base]\nkind = "lightgbm"\n[base.correct]\ncalibrate = "beta"\n[space]\n'
    for name in ('"correct.position"', "correct.position"):
        space = of(tmp_path, base + f'{name} = ["pal", "ipw"]\ntrees = [20]\n')

        config = space.config((2, 1))

        assert list(space.levels) == ["correct.position", "trees"]
        assert (config.correct.position, config.correct.calibrate, config.trees) == ("ipw", "beta", 20)


def test_a_sample_begins_with_the_base_and_has_no_model_twice():
    found = sampled(space_of(None), 500, 3)

    assert found.choices[0] == (0,) * 7
    assert found.configs[0] == space_of(None).base
    assert len(set(found.choices)) == len(found.choices) == 500
    assert len({config.model_dump_json() for config in found.configs}) == 500
    assert all(space_of(None).config(choice) == config for choice, config in zip(*found[:2], strict=True))


def test_a_sample_is_a_function_of_the_seed_and_a_longer_one_goes_on_where_it_ends():
    space = space_of(None)

    assert sampled(space, 20, 1) == sampled(space, 20, 1)
    assert sampled(space, 40, 1).choices[:20] == sampled(space, 20, 1).choices
    assert sampled(space, 20, 1).choices != sampled(space, 20, 2).choices


def test_tokens_are_the_base_s_where_there_is_no_crossing(tmp_path):
    text = BASE + '[space]\ncrossing = ["none", "dlrm"]\ntokens = [4, 8, 16]\ntoken_width = [16, 32]\n'

    found = sampled(of(tmp_path, text), 100, 0)

    assert len(found.choices) == 1 + 3 * 2
    assert [choice for choice in found.choices if choice[0] == 0] == [(0, 0, 0)]


def test_combinations_that_do_not_fit_together_are_left_out_and_counted(tmp_path):
    """Three heads need a width that is a multiple of three."""
    layer = '[[{ modules = [{ kind = "transformer", heads = 3 }] }], "none"]'
    base = f'[base]\nkind = "network"\ntoken_width = 48\n[space]\ncrossing = {layer}\ntoken_width = [32, 48]\n'

    found = sampled(of(tmp_path, base), 100, 0)

    assert len(found.choices) == 2
    assert found.refused == 1


def test_every_value_of_a_setting_is_as_likely_as_any_other():
    """The first trials of many seeds; where there is no crossing, tokens are the base's and do not count."""
    space = space_of(None)
    drawn = [sampled(space, 2, seed) for seed in range(600)]

    crossings = [config.crossing for found in drawn for config in found.configs[1:]]
    counts = [crossings.count(CROSSINGS[name]) for name in space.levels["crossing"]]
    assert sum(counts) == 600
    assert chisquare(counts).pvalue > 1e-4


def test_all_of_a_space_can_be_sampled():
    levels = [range(len(values)) for values in space_of(None).levels.values()]
    distinct = {(c, *(rest if c else (*rest[:2], 0, 0, *rest[4:]))) for c, *rest in product(*levels)}

    assert set(sampled(space_of(None), 10_000, 0).choices) == distinct


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("crossing = [", "Invalid"),
        ("[space]\nhidden = [[16]]\n", "there is no [base], a model's settings as in [models.NAME]"),
        (BASE, "there is no [space], lists of values by setting"),
        (BASE + "[space]\n", "there is no [space]"),
        (BASE + "[spcae]\n[space]\nwide = [true]\n", "unknown part [spcae], did you mean space?"),
        (BASE + 'crosing = "dcnv2"\n[space]\nwide = [true]\n', "unknown setting crosing, did you mean crossing?"),
        (BASE + '[base.correct]\ndely = "fnw"\n[space]\nwide = [true]\n', "unknown setting correct.dely, did you mean delay?"),
        (BASE.replace("network", "netwrok") + "[space]\nwide = [true]\n", "base: Input tag 'netwrok' found"),
        (BASE + "[space]\nhiden = [[16]]\n", "there is no setting hiden, did you mean hidden?"),
        (BASE + '[space]\n"correct.positon" = ["pal"]\n', "there is no setting correct.positon, did you mean position?"),
        (BASE + '[space]\n"embedding.size" = [16]\n', "what stands before .size is one value"),
        (BASE + "[space]\nembedding = [16, 20]\n", "embedding = 20: embedding: Input should be a multiple of 16"),
        (BASE + '[space]\ncrossing = ["dcnv3"]\n', "crossing = \"dcnv3\": crossing: 'dcnv3' is no crossing"),
        (BASE + '[space]\ntask_weight = [{ cart = 2.0 }]\n', "task_weight names cart, which is none of tasks"),
        (BASE + "[space]\nembedding = 16\n", "embedding must be a list of values, got 16"),
        (BASE + "[space]\nembedding = []\n", "embedding must be a list of values, got []"),
        (BASE + "[space]\nembedding = [16]\n", "it holds one configuration, the base"),
        (BASE + f"[space]\nbatch_requests = {list(range(1, 2000))}\nplaces = {list(range(1, 2000))}\n", "at most 1,000,000"),
    ],
)  # fmt: skip
def test_a_bad_space_is_refused_in_one_line(tmp_path, text, words):
    with pytest.raises(Refused) as refused:
        of(tmp_path, text)

    assert words in str(refused.value)
    assert str(tmp_path / "space.toml") in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_space_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(Refused, match="No such file"):
        space_of(tmp_path / "none.toml")
