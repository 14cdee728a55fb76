"""What processes tell one another: two of them on gloo, and one alone."""

import json

import pytest
import torch
from helpers.forking import finish
from helpers.launching import start_processes
from lid_mapmix.utils.distributed import (
    broadcast_from_rank_zero,
    continues_as_rank_zero,
    gather_items,
    gather_rows,
    is_rank_zero,
    rank,
    world_size,
)
from lid_mapmix.utils.errors import UserError

# Two processes share five rows as two and three, or have none that counts, and say what rank zero has said.
EXCHANGE = """
import json
import torch
from torch import distributed
from lid_mapmix.utils.distributed import (
    gather_items, broadcast_from_rank_zero, gather_rows, continues_as_rank_zero, is_rank_zero, rank, world_size
)
from lid_mapmix.utils.errors import ReportedError, UserError
distributed.init_process_group("gloo")
own = slice(0, 2) if rank() == 0 else slice(2, 5)
index, flag = torch.arange(5) * 2**40, torch.arange(5) % 2 == 0
half, cube = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).bfloat16(), torch.rand(5, 2, 2).double()
distributed.broadcast(cube, 0)
everything = (index, flag, half, cube.requires_grad_(), torch.arange(10.0).reshape(5, 2)[:, 1])
parts = [tensor[own] for tensor in everything]
same = lambda found, rows: all(torch.equal(a, b[rows]) and not a.requires_grad for a, b in zip(found, everything))
found = gather_rows(parts, torch.ones(len(parts[0]), dtype=torch.bool), 3)
said = {"all": same(found, slice(0, 5)), "types": [a.dtype == b.dtype for a, b in zip(found, everything)]}
idle = [tensor[:1] if rank() == 0 else tensor[4:] for tensor in everything]
said["one idle"] = same(gather_rows(idle, torch.tensor([rank() == 1]), 3), slice(4, 5))
said["none"] = [len(found) for found in gather_rows(idle, torch.tensor([False]), 1)]
some = gather_rows([index[own]], index[own] != 2**40, 3)
said["some"] = (some[0] // 2**40).tolist()
said["everyone's"] = [gather_items([(rank(), "a")] * (2 * rank())), gather_items([])]
said["rank zero's"] = broadcast_from_rank_zero(lambda: {"rank": rank(), "path": None})
def fail():
    raise UserError("mine")
try:
    broadcast_from_rank_zero(fail)
except (UserError, ReportedError) as error:
    said["fault"] = type(error).__name__
said["place"] = [rank(), world_size(), is_rank_zero()]
said["goes on"] = continues_as_rank_zero()
said["afterwards"] = [rank(), world_size()]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said():
    ended = finish(start_processes(2, EXCHANGE))
    assert [status for status, *_ in ended] == [0, 0], ended
    return [json.loads(output) for _, output, _ in ended]


def test_rows_of_any_type_arrive_bit_for_bit_in_the_order_of_the_batch(said):
    for each in said:
        assert each["all"]
        assert all(each["types"])


def test_rows_that_do_not_count_are_left_out(said):
    for each in said:
        assert each["one idle"]
        assert each["none"] == [0] * 5
        assert each["some"] == [0, 2, 3, 4]


def test_rank_zero_decides_and_its_fault_is_its_own(said):
    assert [each["rank zero's"] for each in said] == [{"rank": 0, "path": None}] * 2
    assert [each["fault"] for each in said] == ["UserError", "ReportedError"]


def test_places_before_and_after_parting(said):
    assert [each["place"] for each in said] == [[0, 2, True], [1, 2, False]]
    assert [each["goes on"] for each in said] == [True, False]
    assert [each["afterwards"] for each in said] == [[0, 1]] * 2


def test_alone_nothing_has_to_be_told():
    rows = torch.rand(3, 2, requires_grad=True)
    (same,) = gather_rows([rows], torch.ones(3, dtype=torch.bool), 3)
    assert same.data_ptr() == rows.data_ptr()
    assert not same.requires_grad
    assert torch.equal(gather_rows([rows], torch.tensor([True, False, True]), 3)[0], rows[[0, 2]])
    assert (rank(), world_size(), is_rank_zero(), continues_as_rank_zero()) == (0, 1, True, True)
    assert broadcast_from_rank_zero(lambda: 5) == 5
    assert gather_items([1, "a"]) == [1, "a"]
    with pytest.raises(UserError, match="mine"):
        broadcast_from_rank_zero(lambda: (_ for _ in ()).throw(UserError("mine")))
