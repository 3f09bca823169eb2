"""Table 2: storage per task, with our own count beside the printed one, and for realistic numbers of tasks.

The paper codes a mask as one 16-bit index for each kept weight at density 1/8. It divides the storage of the
basis by the number of tasks that are possible, which is 784! for permuted MNIST; nobody learns so many tasks.
The second sheet therefore counts numbers of tasks that somebody could learn. No run is needed.
"""

from raycl import Sheet, Study
from raycl.papers.accounts.impresslearn import TABLE_2, StorageRow, break_even, check, corrected


def recount(row: StorageRow) -> list[str]:
    """Return every printed number and ours, marked if they differ by more than a unit of the last digit."""
    cells = {cell.quantity: cell for cell in check(row)}
    texts = []
    for name, digits in (("mask_kb", 1), ("alphas", 0), ("phi_kb", 2), ("compression", 2)):
        cell = cells[name]
        texts += [cell.printed, f"{cell.computed:.{digits}f}" + ("" if cell.agrees else " !")]
    return [row.name, *texts]


def accounts(row: StorageRow, tasks: int) -> list[str]:
    """Return phi and compression for a realistic number of tasks, for each coding of the masks.

    One of the values of phi includes the running statistics of batch normalisation.
    """
    found = corrected(row, tasks)
    texts = [f"{found[coding].phi_kb:.1f}" for coding in ("idx16", "bitmap", "entropy")]
    texts.append(f"{found['bitmap+bn'].phi_kb:.1f}" if "bitmap+bn" in found else "?")
    compression = [f"{found[coding].compression:.2f}" for coding in ("idx16", "bitmap")]
    return [row.name, str(tasks), *texts, *compression, f"{break_even(found['bitmap'], row.masks):.0f}"]


REALISTIC = {"PermMNIST": 250, "RotMNIST": 359, "SplitCIFAR100": 20, "ResNet-50": 100}

STUDY = Study(
    paper="impresslearn",
    sheets=[
        Sheet(
            title="Table 2: printed, and ours behind it",
            header=["network", "mask kB", "ours", "|alpha|", "ours", "phi kB", "ours", "C", "ours"],
            rows=[recount(row) for row in TABLE_2],
            notes=[
                "! differs by more than a unit of the last printed digit",
                *(f"{row.name}: {row.wrong}" for row in TABLE_2 if row.wrong),
                "phi = K mask / tasks + 4 |alpha| bytes; C = mask / phi; 1 kB = 1024 B",
                "our ResNet-50 masks 54 layers with its head, and has 23.5 M weights, because its head has "
                "10 classes; the paper counts 53 layers, and 25.6 M weights with a head of 1,000",
            ],
        ),
        Sheet(
            title="For tasks that somebody learns: phi in kB by coding of the masks, compression, break-even",
            header=[
                "network",
                "tasks",
                "idx16",
                "bitmap",
                "entropy",
                "with BN",
                "C idx16",
                "C bitmap",
                "even",
            ],
            rows=[accounts(row, REALISTIC[row.name]) for row in TABLE_2 if row.name in REALISTIC],
            notes=[
                "a bitmap takes 1 bit per weight, the paper's coding 2 at density 1/8, and its 16 bits "
                "cannot address layers above 65,536 weights",
                "with BN: bitmap, and running statistics of each task; ?: channels not known",
                "even: tasks from which on the basis is cheaper than a mask each; about K",
            ],
        ),
    ],
)
SMALL = STUDY
