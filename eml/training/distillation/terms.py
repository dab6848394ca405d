"""Compare the embeddings of a student with those of its teacher: losses that are 0 where they agree."""

import torch
from torch import Tensor
from torch.nn.functional import normalize as unit_length
from torch.nn.functional import smooth_l1_loss

ANGLE_ROWS = 64
"""Images whose angles are compared with each other: those of three are as many as the cube of it."""


def cosine_term(student: Tensor, teacher: Tensor) -> Tensor:
    """Return 1 − cos(s_i, t_i), (B,).

    Regression of the teacher's embedding; Budnik 2021, arXiv:2006.16331, eq. 7, finds it best where a student's
    queries are compared with its teacher's gallery.

    Args:
        student: (B, D) of any length, with their graph.
        teacher: (B, D).
    """
    return 1.0 - (unit_length(student, dim=1) * unit_length(teacher, dim=1)).sum(1)


def distance_term(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean Huber loss () between the distances of all pairs, each by the mean distance in its batch.

    RKD-D. Park 2019, arXiv:1904.05068, eq. 5–7. Deviation: embeddings have unit length.

    Args:
        student: (B, D) of any length, with their graph.
        teacher: (B, T), of any size.
    """
    return smooth_l1_loss(_relative_distances(student), _relative_distances(teacher))


def _relative_distances(rows: Tensor) -> Tensor:
    """Return the distances (P,) of the P pairs of unit rows, divided by their mean."""
    rows = unit_length(rows, dim=1)
    first, second = torch.triu_indices(len(rows), len(rows), 1, device=rows.device)
    squares = (2.0 - 2.0 * (rows @ rows.T)[first, second]).clamp_min(1e-12)  # whose root has a gradient
    distances = squares.sqrt()
    return distances / distances.mean().clamp_min(1e-6) if len(distances) else distances


def angle_term(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean Huber loss () between the cosines of the angles that three images form.

    RKD-A. Park 2019, arXiv:1904.05068, eq. 8–10. Deviations: embeddings have unit length, and a batch is taken in parts
    of 64 images, since all angles of B images are B³.

    Args:
        student: (B, D) of any length, with their graph.
        teacher: (B, T), of any size.
    """
    student, teacher = unit_length(student, dim=1), unit_length(teacher, dim=1)
    count = -(-len(student) // ANGLE_ROWS)
    pairs = zip(student.tensor_split(count), teacher.tensor_split(count), strict=True)
    losses = [smooth_l1_loss(_angles(own), _angles(others), reduction="sum") for own, others in pairs]
    angles = sum(len(part) ** 3 for part in student.tensor_split(count))
    return torch.stack(losses).sum() / angles


def _angles(rows: Tensor) -> Tensor:
    """Return (B, B, B) cosines of the angles at row i between rows j and k; 0 where two of them are one."""
    towards = rows.unsqueeze(0) - rows.unsqueeze(1)  # (B, B, D): from row i to row j
    directions = unit_length(towards, dim=2, eps=1e-6)
    return directions @ directions.transpose(1, 2)
