import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.evaluation.latents import KeptLatents, choose_utterances


@given(total=st.integers(1, 200), most=st.integers(1, 250), seed=st.integers(0, 9))
def test_the_utterances_are_drawn_once_each_and_always_the_same(total, most, seed):
    chosen = choose_utterances(total, most, seed, "test")
    assert len(chosen) == min(total, most)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert chosen[0] >= 0
    assert chosen[-1] < total
    assert chosen.tolist() == choose_utterances(total, most, seed, "test").tolist()


def test_other_seeds_and_splits_draw_others():
    drawn = {tuple(choose_utterances(100, 10, seed, split)) for seed in (0, 1) for split in ("test", "other")}
    assert len(drawn) == 4


def test_means_of_the_windows_of_those_that_were_chosen(tmp_path):
    kept = KeptLatents(np.array([1, 4, 6]))
    kept.add(torch.tensor([4, 0, 4, 1]), torch.tensor([[1.0, 2], [100, 100], [3, 6], [9, 9]]))
    kept.add(torch.tensor([7, 4]), torch.tensor([[100.0, 100], [5, 1]]))
    kept.add(torch.tensor([1]), torch.tensor([[1e9, -1e9]]))  # more than 16 bits hold
    kept.write(tmp_path / "test_latents.npz", np.array([f"u{number}" for number in range(8)], dtype=object))
    with np.load(tmp_path / "test_latents.npz", allow_pickle=False) as found:
        assert set(found) == {"ids", "latents"}
        assert found["ids"].tolist() == ["u1", "u4"], "no window of u6 was seen"
        assert found["latents"].dtype == np.float16
        assert found["latents"].tolist() == [[65504, -65504], [3, 3]]
    assert [path.name for path in tmp_path.iterdir()] == ["test_latents.npz"]


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    kept = KeptLatents(np.array([0]))
    kept.add(torch.tensor([0]), torch.ones(1, 2))

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        kept.write(tmp_path / "test_latents.npz", np.array(["a"]))
    assert not list(tmp_path.iterdir())
