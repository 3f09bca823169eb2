"""Sizes of models by method: KSM's Table 2, counted again on the networks themselves (KSM section 6)."""

from __future__ import annotations

import pytest

from raycl.errors import UserError
from raycl.networks import Heads
from raycl.networks.resnet50 import ResNet50
from raycl.papers.accounts import ksm
from raycl.papers.accounts.ksm import MIB, RESNET50, VGG16, Size, account, size_of


@pytest.fixture(scope="module")
def resnet() -> Size:
    return size_of(RESNET50)


def test_counts_are_those_of_the_networks(resnet: Size) -> None:
    heads = tuple(2049 * classes for classes in (1000, 200, 196, 102, 195, 250))
    assert resnet == Size(23_454_912, 13_385_920, 0, 0, 26_560, heads)
    assert size_of(VGG16, (5,) * 20) == Size(
        14_710_464, 1_634_496, 18_874_368, 8_192, 4_224, (4097 * 5,) * 20
    )


def test_a_network_without_heads_per_task_is_refused() -> None:
    with pytest.raises(
        ValueError, match="is not one shared network with a head per task; give it norm='affine'"
    ):
        size_of("resnet50", (10, 10))
    with pytest.raises(UserError, match=r"the size of 'mlp' cannot be counted \(known: resnet50"):
        size_of("mlp", (10, 10))


def test_printed_sizes_come_out(resnet: Size) -> None:
    sizes = {kind: kind(resnet) / MIB for kind in ksm.MODELS.values()}
    assert sizes[ksm.finetune] == pytest.approx(554.46, abs=0.005)
    assert sizes[ksm.piggyback] == pytest.approx(121.07, abs=0.005)
    assert sizes[ksm.packnet] == pytest.approx(115.48, abs=0.005)
    assert ksm.piggyback(resnet, norms=False) / MIB == pytest.approx(119.05, abs=0.005)
    assert resnet.shared / MIB == pytest.approx(105.07, abs=0.005)


def test_the_soft_share_that_a_size_implies(resnet: Size) -> None:
    """146 MiB leave 30.9 MiB of floats for the five tasks' kernels."""
    assert ksm.soft_share(resnet, 146 * MIB) == pytest.approx(0.121, abs=5e-4)
    assert ksm.soft_share(resnet, 146 * MIB, norms=False) == pytest.approx(0.129, abs=5e-4)
    assert ksm.ksm(resnet, 0.12114) / MIB == pytest.approx(146, abs=1e-3)
    for soft in (0.0, 0.25, 1.0):
        assert ksm.soft_share(resnet, ksm.ksm(resnet, soft)) == pytest.approx(soft, abs=1e-6)
    with pytest.raises(ValueError, match=r"soft = 1.2 .* must lie in 0..1"):
        ksm.ksm(resnet, 1.2)


def test_by_hand_on_a_small_one() -> None:
    """Ten 3x3 kernels, 7 hidden weights, 2 biases, 3 channels, heads of 4 and 5 parameters."""
    size = Size(90, 10, 7, 2, 3, (4, 5, 4, 5))
    body, norms, heads = 4 * (97 + 2), 48, 4 * 18
    assert size.shared == body + norms + heads
    assert ksm.finetune(size) == 4 * (body + norms) + heads
    assert ksm.piggyback(size) == body + norms + heads + 3 * (13 + norms)  # 97 bits are 13 bytes
    assert ksm.packnet(size) == body + norms + heads + 37 + 3 * norms  # 5 owners: 3 bits of 97 weights
    assert ksm.packnet(Size(90, 10, 7, 2, 3, (4, 5, 4))) - 4 * 13 == body + norms + 25 + 2 * norms
    assert ksm.ksm(size, 4 / 17) == body + norms + heads + 3 * (3 + 4 * 4 + norms)


def test_the_formula_is_what_the_network_has() -> None:
    """The counted network in real memory: parameters, and two buffers of statistics per channel."""
    config = ResNet50.Config(width=0.05, norm="affine")
    net = ResNet50.variant(config)((3, 64, 64), (3, 4), config)
    assert isinstance(net, Heads)
    held = sum(t.numel() for t in (*net.parameters(), *net.buffers()) if t.is_floating_point())
    assert size_of("resnet50(norm='affine', width=0.05)", (3, 4)).shared == 4 * held


@pytest.mark.parametrize(
    ("name", "metric", "value"),
    [
        ("vgg16 conv element", "params", 14_710_464),
        ("vgg16 conv kernel", "params", 1_634_496),
        ("resnet50 conv element", "params", 23_454_912),
        ("resnet50 conv kernel", "params", 13_385_920),
        ("packnet", "bytes_total", 118_965_028 + 5 * 16 * 26_560),
        ("vgg16", "params", None),
        ("vgg16 conv element", "bytes_total", None),
        ("packnet", "params", None),
        ("alexnet conv kernel", "params", None),
    ],
)
def test_accounts_that_claims_ask_for(name: str, metric: str, value: int | None) -> None:
    assert account(name, metric) == value


def test_the_sheet_stands_beside_the_printed_numbers() -> None:
    sheet = ksm.table_2_sizes()
    assert [list(row) for row in sheet.rows] == [
        ["finetune", "554.46", "554"],
        ["piggyback", "121.07", "121"],
        ["  without BN per task", "119.05", "-"],
        ["packnet", "115.48", "115"],
        ["ksm, 0.121 of the kernels soft", "146.00", "146"],
    ]
    notes = " ".join(sheet.notes)
    assert "0.129" in notes and "1.75 weights" in notes and "9 in the 3x3 layers" in notes
