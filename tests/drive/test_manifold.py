"""Landmarks near what the face has done, and steady."""

import torch

from r2talker.drive.manifold import JAW, MOUTH, project, pull_to_known
from r2talker.drive.steadier import Steadier
from tests.tolerances import assert_close


def moving_face(frames: int = 300) -> torch.Tensor:
    """A face with two ways to move, one for the mouth and one for the jaw, and nothing else."""
    generator = torch.Generator().manual_seed(0)
    ways, amount = torch.randn(2, 68, 3, generator=generator), torch.randn(frames, 2, generator=generator)
    ways[0, :48] = 0
    ways[1, 48:] = 0
    return torch.einsum("fw,wpi->fpi", amount, ways)


def test_what_the_face_has_done_stays() -> None:
    known = moving_face()
    assert_close(project(known[:20].flatten(1), known.flatten(1)), known[:20].flatten(1), "projection of a known frame")


def test_what_it_never_does_is_taken_away() -> None:
    known = moving_face()
    strange = known[:20] + 0.5 * torch.randn(20, 68, 3, generator=torch.Generator().manual_seed(1))
    pulled = pull_to_known(strange, known, 1.0)
    for region in (JAW, MOUTH):
        before, after = ((faces - known[:20])[:, region].norm() for faces in (strange, pulled))
        assert after < 0.3 * before
    others = slice(JAW.stop, MOUTH.start)
    assert torch.equal(pulled[:, others], strange[:, others])


def test_regions_are_free_of_each_other() -> None:
    """A mouth of one frame over a jaw of another is still a face of this person."""
    known = moving_face()
    mixed = known[:20].clone()
    mixed[:, MOUTH] = known[100:120][:, MOUTH]
    assert_close(pull_to_known(mixed, known, 1.0), mixed, "projection of a known frame")


def test_the_share_says_how_far() -> None:
    known = moving_face()
    strange = known[:5] + 0.3
    whole, half, none = (pull_to_known(strange, known, share) for share in (1.0, 0.5, 0.0))
    assert_close(half[:, MOUTH], (whole[:, MOUTH] + strange[:, MOUTH]) / 2, "geometry")
    assert torch.equal(none, strange)


def test_few_known_frames_are_enough() -> None:
    known = moving_face(3)
    assert torch.isfinite(pull_to_known(known + 1, known, 1.0)).all()
    assert torch.equal(pull_to_known(known, known[:1], 1.0), known)
    same = known[:1].expand(50, 68, 3)
    assert_close(pull_to_known(same, same, 1.0), same, "geometry")


def test_a_quick_closure_is_not_late_and_tremble_is_halved() -> None:
    face = torch.zeros(10, 68, 3)
    face[5:, 48:, 1] = 1.0
    assert torch.equal(Steadier(0.1, 0.5).advance(face), face)
    tremble = torch.zeros(200, 68, 3)
    tremble[:, 48:, 1] = torch.tensor([0.001, -0.001]).repeat(100)[:, None]
    made = Steadier(1.0, 0.5).advance(tremble)
    assert made[50:, 48, 1].abs().max() < 0.6 * 0.001


def test_pieces_are_as_steady_as_the_whole() -> None:
    face = moving_face(50)
    whole, steadier = Steadier(1.0, 0.5).advance(face), Steadier(1.0, 0.5)
    parts = [steadier.advance(part) for part in (face[:7], face[7:7], face[7:])]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(Steadier(1.0, 1.0).advance(face), face)
