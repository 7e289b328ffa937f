"""The Basel model's files become one file of tensors: right vertices, units and centre; anything else is refused by name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat

from r2talker.cli.main import run
from r2talker.data.foreign.pickles import read_object_npy
from r2talker.errors import R2TalkerError
from r2talker.ingest.morphable.convert import BaselFiles, convert_basel
from r2talker.ingest.morphable.model import MorphableModel, read_morphable
from tests.ingest.morphable.basel import VERTICES, write_basel
from tests.tolerances import assert_close

SIDE_FILES = Path(__file__).parents[4] / "shared" / "assets3d" / "ad-nerf"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> BaselFiles:
    return write_basel(tmp_path_factory.mktemp("basel"))


@pytest.fixture(scope="module")
def model(files: BaselFiles) -> MorphableModel:
    output = files.model.with_name("bfm.safetensors")
    assert convert_basel(files, output) == VERTICES
    return read_morphable(output)


def test_shapes(model: MorphableModel) -> None:
    assert model.identity.shape == (100, VERTICES, 3)
    assert model.expression.shape == (79, VERTICES, 3)
    assert model.texture.shape == (100, VERTICES, 3)
    assert model.left_contour.shape == model.right_contour.shape == (8, 20)
    assert model.vertex_triangles.shape == (VERTICES, 8)


def test_geometry_is_that_of_the_formula(files: BaselFiles, model: MorphableModel) -> None:
    """(id sig) B_id + (exp sig) B_exp + mu, over 1e5, mu without its mean (upstream.md 8.1)."""
    basel, expression = loadmat(files.model), read_object_npy(files.expressions)
    chosen = read_object_npy(files.topology)["sub_inds"]
    rng = np.random.default_rng(1)
    own, moved = rng.standard_normal(100), rng.standard_normal(79)
    whole = basel["shapeMU"][:, 0] + basel["shapePC"][:, :100] @ (own * basel["shapeEV"][:100, 0])
    expected = whole.reshape(-1, 3)[chosen] + ((moved * expression["sig_exp"]) @ expression["base_exp"]).reshape(-1, 3)
    expected -= basel["shapeMU"].reshape(-1, 3)[chosen].mean(0)
    found = model.shape(torch.from_numpy(own[None]).float(), torch.from_numpy(moved[None]).float())[0]
    assert_close(found, expected / 1e5, "face model")
    some = torch.tensor([5, 100, 7])
    part = model.shape(torch.from_numpy(own[None]).float(), torch.from_numpy(moved[None]).float(), some)[0]
    assert_close(part, found[some], "face model")
    assert_close(model.mean.mean(0), [0, 0, 0], "face model")


def test_the_jaw_follows_the_view(model: MorphableModel) -> None:
    candidates = model.landmark_candidates()
    places = torch.rand(3, len(candidates), 2)
    points = model.pick_landmarks(places)
    left = places[:, 68 : 68 + 160].unflatten(1, (8, 20))
    right = places[:, 68 + 160 :].unflatten(1, (8, 20))
    assert torch.equal(points[:, :8, 0], left[..., 0].amin(2))
    assert torch.equal(points[:, 9:17, 0], right[..., 0].amax(2))
    assert torch.equal(points[:, 8], places[:, 8])
    assert torch.equal(points[:, 17:], places[:, 17:68])


def test_the_command(files: BaselFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.safetensors"
    assert run(["convert-bfm", str(files.model), "-o", str(output)]) == 0
    assert f"{output}: {VERTICES} vertices" in capsys.readouterr().out
    assert read_morphable(output).mean.shape == (VERTICES, 3)


def test_files_that_do_not_fit_are_named(files: BaselFiles, tmp_path: Path) -> None:
    output = tmp_path / "bfm.safetensors"
    text = tmp_path / "text.mat"
    text.write_text("hello, this is no MATLAB file" * 20)
    wrong = tmp_path / "keys.npy"
    keys = read_object_npy(files.keys)
    np.save(wrong, keys | {"keyinds": np.full(68, VERTICES)}, allow_pickle=True)  # type: ignore[arg-type]
    for changed, words in (
        (replace(files, model=tmp_path / "none.mat"), r"none\.mat"),
        (replace(files, model=text), r"text\.mat"),
        (replace(files, keys=files.topology), "do not fit together .*keyinds"),
        (replace(files, keys=wrong), "landmarks has shape"),
        (replace(files, expressions=tmp_path / "none.npy"), r"none\.npy"),
    ):
        with pytest.raises(R2TalkerError, match=words):
            convert_basel(changed, output)
    assert not output.exists()


def test_a_model_that_is_none(files: BaselFiles, tmp_path: Path) -> None:
    with pytest.raises(R2TalkerError, match="does not exist; make it with"):
        read_morphable(tmp_path / "none")
    with pytest.raises(R2TalkerError, match="is not a converted face model"):
        read_morphable(files.model)


@pytest.mark.slow
@pytest.mark.skipif(not SIDE_FILES.is_dir(), reason="AD-NeRF's side files are not beside the project")
def test_the_real_side_files(tmp_path: Path) -> None:
    """AD-NeRF's own topology and keys, with random numbers in the place of the Basel model, at its full size."""
    from scipy.io import savemat

    rng = np.random.default_rng(0)
    vertices, part = 53490, 34650
    basel = {"shapeMU": rng.random((3 * vertices, 1), np.float32), "texMU": rng.random((3 * vertices, 1), np.float32)}
    basel |= {name: rng.random((3 * vertices, 199), np.float32) for name in ("shapePC", "texPC")}
    savemat(tmp_path / "01_MorphableModel.mat", basel | {name: np.ones((199, 1), np.float32) for name in ("shapeEV", "texEV")})
    expression = {
        "mu_exp": np.zeros(3 * part), "base_exp": rng.random((79, 3 * part), np.float32), "sig_exp": np.ones(79),
    }  # fmt: skip
    np.save(tmp_path / "exp_info.npy", expression, allow_pickle=True)  # type: ignore[arg-type]
    names = ("01_MorphableModel.mat", "exp_info.npy")
    files = BaselFiles(*(tmp_path / name for name in names), SIDE_FILES / "keys_info.npy", SIDE_FILES / "topology_info.npy")
    assert convert_basel(files, tmp_path / "bfm.safetensors") == part
    model = read_morphable(tmp_path / "bfm.safetensors")
    assert model.triangles.shape == (68746, 3)
    assert model.landmarks[:3].tolist() == [16655, 16922, 16411]
