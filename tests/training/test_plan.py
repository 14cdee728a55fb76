import numpy as np
import pytest
from helpers.synthetic import make_corpus, open_split
from lid_mapmix.config.checks import task_config
from lid_mapmix.config.schema import DatamapConfig
from lid_mapmix.mapmix.datamap import measures
from lid_mapmix.mapmix.datamap_files import write_class_similarity, write_datamap
from lid_mapmix.training.plan import assign_regions, data_digest, plan_training
from lid_mapmix.utils.errors import UserError
from reference.confidence import confidence_rows

REGIONS = np.array(["easy", "ambiguous", "hard"] * 4)
LIKENESS = np.array([[0.5, 0.2, 0.2, 0.1], [0.3, 0.4, 0.2, 0.1], [0.1, 0.1, 0.6, 0.2], [0.0, 0.1, 0.5, 0.4]])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return open_split(make_corpus(tmp_path_factory.mktemp("plan"), sizes={"train": 3}, seconds=0.1))


def write_map(folder, split, labels, regions=REGIONS, rows=slice(None)):
    count = len(split.manifest)
    measured = measures(np.full((2, count), 0.5, np.float32), np.ones((2, count), bool))
    columns = {name: values[rows] for name, values in split.manifest.columns.items()}
    kept = type(measured)(**{name: values[rows] for name, values in vars(measured).items()})
    write_datamap(folder / "datamap.csv", columns, kept, regions[rows])
    write_class_similarity(folder / "class_similarity.csv", labels.classes, LIKENESS * 7, np.full(4, 7))
    return str(folder / "datamap.csv")


def plan(data, variant=None, **mapmix):
    config = task_config({"variant": variant, "mapmix": mapmix, "data": {"batch_size": 5}})
    return plan_training(config, *data, seed=3)


def draws(sampler, epochs=20):
    return [draw for epoch in range(epochs) for batch in sampler.batches(epoch) for draw in batch]


def test_plain_training_takes_everyone_and_mixes_nobody(data):
    planned = plan(data)
    assert planned.sampler().anchors.tolist() == list(range(12))
    assert planned.sampler().partners is None
    assert planned.targets.tolist() == np.eye(4).tolist()
    sampler = planned.sampler()
    assert (sampler.batch_size, sampler.alpha, sampler.probability, sampler.seed) == (5, 0.5, 1.0, 3)


def test_each_process_has_its_part_of_the_batches_also_under_stock_s3prl(data, monkeypatch):
    assert (plan(data).sampler().process, plan(data).sampler().processes) == (0, 1)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 2)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 3)
    assert (plan(data).sampler().process, plan(data).sampler().processes) == (2, 3)


def test_latent_mixing_draws_from_everyone(data):
    planned = plan(data, mix="latent", alpha=0.3, probability=0.9)
    assert planned.sampler().partners.tolist() == list(range(12))
    assert (planned.sampler().alpha, planned.sampler().probability) == (0.3, 0.9)
    assert {draw.partner for draw in draws(planned.sampler())} == set(range(12))


@pytest.mark.parametrize("anchors", ["all", "easy", "ambiguous", "hard", "not_hard"])
@pytest.mark.parametrize("partners", ["all", "easy", "ambiguous", "hard", "not_hard"])
def test_anchors_and_partners_are_of_their_regions(data, tmp_path, anchors, partners):
    path = write_map(tmp_path, *data)
    planned = plan(data, mix="latent", anchors=anchors, partners=partners, datamap=path)
    everyone = set(range(12))
    members = {"all": everyone, "not_hard": set(np.flatnonzero(REGIONS != "hard").tolist())} | {
        name: set(np.flatnonzero(name == REGIONS).tolist()) for name in REGIONS
    }
    drawn = draws(planned.sampler())
    assert {draw.anchor for draw in drawn} == members[anchors]
    assert {draw.partner for draw in drawn} == members[partners]


def test_the_map_may_have_another_order(data, tmp_path):
    path = write_map(tmp_path, *data, rows=slice(None, None, -1))
    planned = plan(data, mix="latent", anchors="ambiguous", partners="easy", datamap=path)
    assert planned.sampler().anchors.tolist() == np.flatnonzero(REGIONS == "ambiguous").tolist()


@pytest.mark.parametrize(
    ("pools", "empty"),
    [({"anchors": "hard"}, "hard"), ({"partners": "easy", "mix": "latent"}, "easy"), ({"anchors": "ambiguous"}, None)],
)
def test_a_region_with_no_utterance_is_refused(data, tmp_path, pools, empty):
    path = write_map(tmp_path, *data, regions=np.full(12, "ambiguous"))
    if empty is None:
        assert len(plan(data, **pools, datamap=path).sampler().anchors) == 12
        return
    with pytest.raises(
        UserError, match=rf"expected {empty} utterances, found none \(0 easy, 12 ambiguous, 0 hard\)"
    ) as caught:
        plan(data, **pools, datamap=path)
    assert path in str(caught.value)
    assert "quantile" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_map_of_another_manifest_is_refused(data, tmp_path):
    path = write_map(tmp_path, *data, rows=slice(0, 11))
    with pytest.raises(UserError, match="1 utterances are not in the map") as caught:
        plan(data, anchors="ambiguous", datamap=path)
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_class_similarity_of_other_classes_is_refused(data, tmp_path):
    path = write_map(tmp_path, *data)
    (tmp_path / "class_similarity.csv").write_text("class,a,b\na,0.5,0.5\nb,0.5,0.5\n")
    with pytest.raises(UserError, match=r"class_similarity\.csv"):
        plan(data, targets="confidence", datamap=path)


@pytest.mark.parametrize(("variant", "subject"), [("mapmix", "variant mapmix"), (None, "this configuration")])
@pytest.mark.parametrize("settings", [{"anchors": "ambiguous"}, {"targets": "confidence"}])
def test_what_to_do_without_a_map_is_told(data, variant, subject, settings):
    with pytest.raises(
        UserError, match=rf"^{subject} needs a data map, and mapmix\.datamap names none\. Train '-v datamap' first"
    ) as caught:
        plan(data, variant=variant, **settings)
    assert "config.downstream_expert.mapmix.datamap=RUN/datamap.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_map_that_is_not_there_is_refused(data, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        plan(data, anchors="ambiguous", datamap=str(tmp_path / "absent.csv"))


@pytest.mark.parametrize("class_similarity", ["estimated", "uniform"])
@pytest.mark.parametrize("share", [0.75, 0.6, 1.0])
def test_confidence_targets(data, tmp_path, class_similarity, share):
    path = write_map(tmp_path, *data)
    planned = plan(data, targets="confidence", own_class_weight=share, class_similarity=class_similarity, datamap=path)
    expected = confidence_rows(LIKENESS if class_similarity == "estimated" else np.ones((4, 4)), [0, 0, 1, 1], share)
    np.testing.assert_allclose(planned.targets, expected, atol=1e-8)


def test_class_similarity_may_be_given_by_a_file(data, tmp_path):
    path = tmp_path / "class_similarity.csv"
    write_class_similarity(path, data[1].classes, LIKENESS * 7, np.full(4, 7))
    planned = plan(data, targets="confidence", class_similarity="given", class_similarity_file=str(path))
    np.testing.assert_allclose(planned.targets, confidence_rows(LIKENESS, [0, 0, 1, 1], 0.75), atol=1e-9)
    with pytest.raises(UserError, match=r"expected mapmix\.class_similarity_file, found none"):
        plan(data, targets="confidence", class_similarity="given")


def test_the_papers_class_similarity_is_for_the_papers_classes(data):
    with pytest.raises(UserError, match="expected the classes of LRE17"):
        plan(data, targets="confidence", class_similarity="lre17")


def test_the_pairing_reaches_the_sampler(data):
    planned = plan(data, mix="latent", pairing="across", lambda_per="utterance")
    assert (planned.sampler().pairing, planned.sampler().lambda_per) == ("across", "utterance")
    np.testing.assert_array_equal(planned.sampler().classes, data[0].target_classes)


def test_across_needs_partners_of_two_classes(data, tmp_path):
    regions = np.where(data[0].target_classes == 0, "easy", "ambiguous")
    path = write_map(tmp_path, *data, regions=regions)
    with pytest.raises(UserError, match="partners of at least two classes"):
        plan(data, mix="latent", partners="easy", pairing="across", datamap=path)


def test_one_class_is_nothing_to_train_on(tmp_path):
    """It trained without a word, to an accuracy of 1."""
    alone = open_split(make_corpus(tmp_path, classes=("xaa-one",), sizes={"train": 3}, seconds=0.1))
    with pytest.raises(UserError, match=r"expected at least two classes, found only xaa-one\. Check that the column"):
        plan(alone)


def test_uniform_targets_need_no_map(data):
    planned = plan(data, targets="confidence", class_similarity="uniform")
    np.testing.assert_allclose(planned.targets[0], [0.75, 0.25, 0, 0])


# Regions and digest -------------------------------------------------------------------------------------------


def test_fixed_regions_use_the_thresholds_of_the_configuration():
    confidence, variability = np.array([0.9, 0.9, 0.1, 0.1, 0.5]), np.array([0.1, 0.4, 0.1, 0.25, 0.0])
    target_classes = np.zeros(5, int)
    found = assign_regions(DatamapConfig(), confidence, variability, target_classes)
    assert found.tolist() == ["easy", "ambiguous", "hard", "ambiguous", "ambiguous"]
    other = DatamapConfig(easy_confidence=0.4, easy_variability=0.5, hard_confidence=0.2, hard_variability=0.3)
    assert assign_regions(other, confidence, variability, target_classes).tolist() == [
        "easy",
        "easy",
        "hard",
        "hard",
        "easy",
    ]


def test_quantile_regions_are_taken_of_all_or_of_each_class():
    confidence, target_classes = np.array([0.9, 0.8, 0.7, 0.3, 0.2, 0.1]), np.array([0, 0, 0, 1, 1, 1])
    shares = {"regions": "quantile", "easy_fraction": 1 / 3, "hard_fraction": 1 / 3}
    found = assign_regions(DatamapConfig(**shares), confidence, confidence, target_classes)
    assert found.tolist() == ["easy", "easy", "ambiguous", "ambiguous", "hard", "hard"]
    found = assign_regions(DatamapConfig(**shares, per_class=True), confidence, confidence, target_classes)
    assert found.tolist() == ["easy", "ambiguous", "hard"] * 2


def digest(split, labels):
    return data_digest(split.manifest, labels)


def test_the_fingerprint_names_utterances_classes_and_labels(data, tmp_path):
    split, labels = data
    again = open_split(split.manifest.path.parent)
    assert digest(split, labels) == digest(*again)
    assert len(digest(split, labels)) == 16
    others = [
        open_split(make_corpus(tmp_path / "more", sizes={"train": 4}, seconds=0.1)),
        (split, type(labels)(dict(reversed(labels.clusters.items())))),
    ]
    digests = {digest(*other) for other in [data, *others]}
    assert len(digests) == 3


@pytest.mark.parametrize(("sampler", "power"), [("uniform", 1.0), ("balanced", 0.0), ("power", 0.3)])
def test_classes_are_drawn_as_the_configuration_says(sampler, power, data):
    settings = {"data": {"batch_size": 5, "sampler": sampler, "sampler_power": 0.3}}
    assert plan_training(task_config(settings), *data, seed=3).sampler().power == power


@pytest.mark.parametrize("rule", ["fixed", "quantile"])
def test_who_was_never_heard_is_in_no_region_and_in_no_share(rule):
    config = DatamapConfig(regions=rule, easy_fraction=0.5, hard_fraction=0.25)
    confidence = np.array([0.9, np.nan, 0.1, 0.8, 0.5])
    variability, target_classes = np.where(np.isnan(confidence), np.nan, 0.1), np.array([0, 0, 1, 1, 1])
    found = assign_regions(config, confidence, variability, target_classes)
    assert found.tolist() == ["easy", "unread", "hard", "easy", "ambiguous"]


def test_estimated_own_class_weights_are_those_of_the_class_similarity(data, tmp_path):
    path = write_map(tmp_path, *data)
    planned = plan(data, targets="confidence", own_class_weight="estimated", datamap=path)
    clusters = data[1].cluster_indices
    inside = np.where(clusters[:, None] == clusters[None, :], LIKENESS, 0)
    expected = inside / inside.sum(axis=1, keepdims=True)
    expected[3] = [0, 0, 0.5, 0.5]  # .4 of .9 is below one half
    np.testing.assert_allclose(planned.targets, expected, atol=1e-8)
    assert len(set(np.diag(planned.targets))) > 1


def test_smoothed_targets_need_no_map(data):
    planned = plan(data, targets="smoothed", own_class_weight=0.7)
    np.testing.assert_allclose(planned.targets, 0.1 + 0.6 * np.eye(4))
    with pytest.raises(UserError, match="expected a number with targets smoothed, found estimated"):
        plan(data, targets="smoothed", own_class_weight="estimated")
