"""Compiling: every kernel for every architecture that is promised, without a GPU; the cache; what is said when nothing runs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from r2talker.errors import R2TalkerError
from r2talker.ops.adam.cuda import PARTS as ADAM
from r2talker.ops.cuda import kernels
from r2talker.ops.cuda.kernels import cache_folder, compile_source, load_kernels, missing, read_source
from r2talker.ops.grid_encode.cuda import PARTS as GRID
from r2talker.ops.render_head.cuda import BLOCKS, defines
from r2talker.ops.render_head.cuda import PARTS as HEAD
from r2talker.ops.render_torso.cuda import PARTS as TORSO
from r2talker.ops.render_torso.cuda import defines as torso_defines
from r2talker.ops.train_head.cuda import PARTS as STEP
from r2talker.ops.train_head.cuda import step_macros
from r2talker.ops.yuv420.cuda import PARTS as PLANES
from r2talker.ops.yuv420.cuda import macros as planes_macros
from r2talker.render.networks import networks, torso_networks
from tests.golden.models import golden_model

pytest.importorskip("cuda.bindings.nvrtc", reason="needs NVRTC: cuda-bindings and nvidia-cuda-nvrtc")


@pytest.mark.parametrize(("name", "architecture"), [("r2talker", "sm_80"), ("r2talker", "sm_90"), ("geneface", "sm_90")])
def test_the_kernels_compile(name: str, architecture: str) -> None:
    model = golden_model(name)
    assert model.torso is not None
    net = networks(model.head)
    units = {
        HEAD: {**defines(net, 2), "BLOCKS": BLOCKS},
        STEP: step_macros(net, 4, 4096),
        TORSO: torso_defines(torso_networks(model.torso)),
        ADAM: {},
        PLANES: planes_macros(),
        GRID: {"DIM": 3, "CHANNELS": 2, "LEVELS": 12},
    }
    for parts, macros in units.items():
        code = compile_source(read_source(parts), sorted(macros.items()), architecture)
        assert code[:4] == b"\x7fELF"


@pytest.mark.parametrize("name", ["r2talker", "radnerf"])
def test_the_kernels_compile_for_grids_that_hash(name: str) -> None:
    net = networks(golden_model(name).head)
    net = replace(net, layout=replace(net.layout, kind="hash"))
    for parts, macros in ((HEAD, {**defines(net, 1), "BLOCKS": BLOCKS}), (STEP, step_macros(net, 4, 4096))):
        assert macros["POS_HASHED"] == 1
        assert compile_source(read_source(parts), sorted(macros.items()), "sm_90")[:4] == b"\x7fELF"


def test_a_mistake_is_shown_with_the_compilers_words() -> None:
    with pytest.raises(RuntimeError, match=r"do not compile for sm_90:\n.*undeclared_name"):
        compile_source("__global__ void k() { undeclared_name(); }", [], "sm_90")


def test_machine_code_is_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("R2TALKER_CACHE", str(tmp_path / "kept"))
    source = 'extern "C" __global__ void k(int* x) { *x = N; }'
    first = kernels._machine_code(source, (("N", 1),), "sm_90")
    (kept,) = (tmp_path / "kept").glob("*.cubin")
    assert kept.read_bytes() == first
    kept.write_bytes(b"what was kept")
    assert kernels._machine_code(source, (("N", 1),), "sm_90") == b"what was kept"
    assert kernels._machine_code(source, (("N", 2),), "sm_90")[:4] == b"\x7fELF"
    assert len(list((tmp_path / "kept").glob("*.cubin"))) == 2


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("R2TALKER_CACHE", str(tmp_path / "file" / "inside"))
    assert kernels._machine_code('extern "C" __global__ void k() {}', (), "sm_90")[:4] == b"\x7fELF"


def test_the_cache_lies_where_caches_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("R2TALKER_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "r2talker"


def test_a_cpu_has_no_kernels_and_the_error_says_so() -> None:
    assert missing(torch.device("cpu")) == "the kernels need a CUDA device, not cpu"
    with pytest.raises(R2TalkerError, match="need a CUDA device"):
        load_kernels(ADAM, {}, torch.device("cpu"))
