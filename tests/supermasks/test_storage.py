"""Storage: the paper's table to the last digit, and what it leaves out."""

from __future__ import annotations

import math

import pytest

from raycl.errors import UserError
from raycl.papers.accounts.impresslearn import (
    KB,
    TABLE_2,
    StorageCell,
    bits_per_weight,
    break_even,
    check,
    corrected,
    storage,
    total_bytes,
    total_bytes_own,
    unaddressable,
)

ROWS = {row.name: row for row in TABLE_2}
TRUE = [row for row in TABLE_2 if not row.wrong]


def test_eleven_rows_of_which_one_is_wrong() -> None:
    assert len(ROWS) == len(TABLE_2) == 11
    assert [row.name for row in TABLE_2 if row.wrong] == ["pre-ResNet-200"]


@pytest.mark.parametrize("row", TRUE, ids=lambda row: row.name)
def test_printed_numbers(row: object) -> None:
    cells = check(row)  # type: ignore[arg-type]
    assert [cell.quantity for cell in cells] == ["mask_kb", "alphas", "phi_kb", "compression"]
    assert [cell for cell in cells if not cell.agrees] == []


@pytest.mark.parametrize(
    ("name", "mask_kb", "alphas", "phi_kb", "compression"),
    [("PermMNIST", 64.94, 300, 1.172, 55.42), ("RotMNIST", 64.94, 15, 0.963, 67.43),
     ("SplitCIFAR100", 1513.67, 210, 757.66, 1.998), ("WideResNet-18", 2856.45, 210, 1429.04, 1.999),
     ("WideResNet-34", 5322.27, 370, 2662.58, 1.999), ("ResNet-50", 6250.00, 3975, 238.74, 26.18),
     ("ResNet-101", 10864.26, 7800, 418.48, 25.96), ("ResNet-152", 14697.27, 11625, 570.31, 25.77),
     ("pre-ResNet-200", 15795.90, 20300, 831.48, 19.00), ("VGG-16", 33666.99, 1200, 1207.08, 27.89),
     ("WRN-50-2", 16821.29, 3975, 616.29, 27.30)],
)  # fmt: skip
def test_computed_numbers(name: str, mask_kb: float, alphas: int, phi_kb: float, compression: float) -> None:
    account = ROWS[name].account()
    assert account.alphas == alphas
    assert account.mask_kb == pytest.approx(mask_kb, abs=0.006)
    assert account.phi_kb == pytest.approx(phi_kb, abs=0.006)
    assert account.compression == pytest.approx(compression, abs=0.006)


def test_the_row_that_is_printed_wrongly_is_that_of_75_masks() -> None:
    row = ROWS["pre-ResNet-200"]
    assert {cell.quantity: cell.agrees for cell in check(row)} == {
        "mask_kb": True, "alphas": False, "phi_kb": False, "compression": False,
    }  # fmt: skip
    assert all(cell.agrees for cell in check(row, masks=75))
    # 100 masks beside the printed 15225 coefficients would be 811.66 kB, C 19.46; neither is printed
    assert row.account().basis_kb + row.account(masks=75).alpha_kb == pytest.approx(811.66, abs=0.006)


@pytest.mark.parametrize(
    ("printed", "computed", "agrees"),
    [("1.99", 1.9995, True), ("1.99", 2.001, False), ("67.4", 67.3, True), ("67.4", 67.29, False),
     ("300", 300.0, True), ("1513", 1513.67, True), ("1513", 1514.01, False)],
)  # fmt: skip
def test_one_unit_of_the_last_digit(printed: str, computed: float, agrees: bool) -> None:
    assert StorageCell("", "", printed, computed).agrees is agrees


def test_a_small_account_by_hand() -> None:
    # 8192 weights, a bitmap: 1 kB. 4 masks for 8 tasks: half a kB; 4 x 2 numbers of 4 bytes: 1/32 kB
    account = storage(8192, 4, 2, 8, density=0.5, coding="bitmap", bn_channels=16, count_bn=True)
    assert (account.mask_kb, account.basis_kb, account.alphas) == (1.0, 0.5, 8)
    assert (account.alpha_kb, account.bn_kb) == (1 / 32, 1 / 8)
    assert account.phi_kb == 0.5 + 1 / 32 + 1 / 8
    assert account.compression == pytest.approx(1.125 / 0.65625)
    assert storage(8192, 4, 2, 8, density=0.5, coding="bitmap", alpha_bits=16).alpha_kb == 1 / 64
    assert storage(8192, 4, 2, 8, density=0.5, bn_channels=16).bn_kb == 0
    # whole: 4 kB of masks, coefficients of the 4 tasks beyond the basis, statistics of 8, and the seed
    assert total_bytes(account, 4, 8) == KB * (4 + 4 / 32 + 1) + 8
    assert total_bytes(account, 4, 8, basis_tasks=1) == KB * (4 + 7 / 32 + 1) + 8
    assert total_bytes(account, 4, 2) == KB * (4 + 2 / 8) + 8  # fewer tasks than masks
    assert total_bytes_own(account, 8) == KB * 9 + 8


def test_thirty_numbers_for_ten_masks_on_three_layers() -> None:
    assert storage(266_200, 10, 3, 359, density=0.05).alphas == 30


def test_codings() -> None:
    assert bits_per_weight(0.125, "idx16") == 2 * bits_per_weight(0.125, "bitmap") == 2
    assert bits_per_weight(0.125, "idx32") == 4
    assert bits_per_weight(1 / 16, "idx16") == 1  # below this density an index costs less than a bit
    for density, bits in ((0.05, 0.286), (0.1, 0.469), (0.125, 0.544), (0.3, 0.881)):
        assert bits_per_weight(density, "entropy") == pytest.approx(bits, abs=5e-4)
    assert bits_per_weight(0.0, "entropy") == bits_per_weight(1.0, "entropy") == 0
    assert bits_per_weight(0.5, "entropy") == 1


def test_a_sixteen_bit_index_does_not_reach_every_weight() -> None:
    lenet = (235_200, 30_000, 1_000)
    assert unaddressable(lenet, "idx16") == [235_200]
    assert unaddressable((65_536, 65_537), "idx16") == [65_537]
    assert unaddressable(lenet, "idx32") == unaddressable(lenet, "bitmap") == []


def test_numbers_of_tasks_too_large_for_floats() -> None:
    row = ROWS["PermMNIST"]
    with pytest.raises(OverflowError):
        float(row.tasks)
    account = row.account()
    assert account.basis_kb == 0 and account.phi_kb == account.alpha_kb == 1.171875
    near = storage(266_000, 100, 3, 10**300, density=0.125)
    assert 0 < near.basis_kb < 1e-290 and near.phi_kb == account.phi_kb
    assert storage(266_000, 100, 3, math.inf, density=0.125) == account


def test_numbers_of_tasks_that_somebody_learns() -> None:
    row = ROWS["PermMNIST"]
    assert row.account(coding="bitmap").compression == pytest.approx(27.7, abs=0.05)
    account = row.account(tasks=250)
    assert account.phi_kb == pytest.approx(27.1, abs=0.06)
    assert account.compression == pytest.approx(2.4, abs=0.05)
    assert row.account(tasks=359).compression == pytest.approx(3.4, abs=0.05)


def test_a_basis_pays_from_about_as_many_tasks_as_it_has_masks() -> None:
    for row in TABLE_2:
        tasks = break_even(row.account(), row.masks)
        assert row.masks < tasks < 1.05 * row.masks
        assert row.account(tasks=math.floor(tasks)).compression < 1
        assert row.account(tasks=math.ceil(tasks)).compression > 1
    assert break_even(storage(64, 100, 3, 10, density=0.125), 100) == math.inf  # coefficients cost more


def test_batch_statistics() -> None:
    with_bn = ROWS["SplitCIFAR100"].account(count_bn=True)
    assert with_bn.bn_kb == pytest.approx(28.1, abs=0.05)
    assert with_bn.alpha_kb == pytest.approx(0.82, abs=0.005)
    imagenet = ROWS["ResNet-50"].account(count_bn=True)
    assert imagenet.bn_kb == 207.5 and imagenet.alpha_kb == pytest.approx(15.5, abs=0.05)
    assert imagenet.compression == pytest.approx((6250 + 207.5) / (238.74 + 207.5), rel=1e-4)
    with pytest.raises(UserError, match="ResNet-101 of Table 2"):
        ROWS["ResNet-101"].account(count_bn=True)


def test_corrected() -> None:
    accounts = corrected(ROWS["SplitCIFAR100"], 20)
    codings = ["idx16", "idx32", "bitmap", "entropy"]
    assert list(accounts) == [*codings, *(f"{name}+bn" for name in codings)]
    assert accounts["idx16"] == ROWS["SplitCIFAR100"].account()
    assert accounts["bitmap+bn"] == ROWS["SplitCIFAR100"].account(coding="bitmap", count_bn=True)
    assert accounts["entropy"].mask_kb < accounts["bitmap"].mask_kb < accounts["idx16"].mask_kb
    assert list(corrected(ROWS["ResNet-101"], 20)) == codings


def test_what_cannot_be() -> None:
    with pytest.raises(UserError, match=r"density = 1.5 of a mask must lie in"):
        storage(10, 1, 1, 1, density=1.5)
    with pytest.raises(UserError, match="coding = 'zip'"):
        storage(10, 1, 1, 1, density=0.5, coding="zip")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="T = 0 of a storage account must be at least 1"):
        storage(10, 1, 1, 0, density=0.5)
