"""Discovery without hardware, names, and what a run is allowed to see."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers import devices
from workers.devices import cpu, nvidia, tpu
from workers.devices.device import Device


def test_a_node_without_accelerators_has_a_slot_for_each_core() -> None:
    found = devices.discover()
    assert [(one.kind, one.index) for one in found] == [("cpu", n) for n in range(len(os.sched_getaffinity(0)))]
    assert all(one.memory_bytes > 0 for one in found)


def test_the_number_of_slots_can_be_given() -> None:
    assert len(devices.discover(5)) == 5
    assert devices.discover(0) == []


def test_slots_bound_every_pool_and_hide_gpus() -> None:
    inventory = devices.discover(4)
    single = devices.environment_for([("cpu", 2)], inventory)
    assert {single[name] for name in cpu.THREAD_VARIABLES} == {"1"}
    assert single["JAX_PLATFORMS"] == "cpu"
    assert single["CUDA_VISIBLE_DEVICES"] == ""
    assert devices.environment_for([("cpu", 0), ("cpu", 3)], inventory)["OMP_NUM_THREADS"] == "2"


def test_a_program_that_spreads_sees_as_many_devices_as_it_has_slots() -> None:
    inventory = devices.discover(4)
    held = [("cpu", 0), ("cpu", 3)]
    assert "XLA_FLAGS" not in devices.environment_for(held, inventory)
    environment = {**os.environ, **devices.environment_for(held, inventory, spread=2)}
    script = "import jax; print(jax.device_count())"
    found = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "2"


def test_one_slot_really_is_one_thread_of_xla() -> None:
    script = (
        "import os, jax.numpy as n\n"
        "x = n.ones((600, 600)); [(x @ x).block_until_ready() for _ in range(3)]\n"
        "names = [open(f'/proc/self/task/{t}/comm').read() for t in os.listdir('/proc/self/task')]\n"
        "print(sum('Eigen' in name for name in names))"
    )
    environment = {**os.environ, **devices.environment_for([("cpu", 0)], devices.discover(1))}
    found = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert int(found.stdout) <= 1


def test_a_device_that_is_not_here_is_refused() -> None:
    with pytest.raises(ValueError, match="nvidia-h100 7"):
        devices.environment_for([("nvidia-h100", 7)], devices.discover(1))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NVIDIA H100 80GB HBM3", "nvidia-h100"),
        ("NVIDIA A100-SXM4-40GB", "nvidia-a100"),
        ("NVIDIA A100-PCIE-40GB", "nvidia-a100"),
        ("Tesla V100-SXM2-16GB", "nvidia-v100"),
        ("NVIDIA GeForce RTX 4090", "nvidia-rtx-4090"),
        ("NVIDIA RTX A6000", "nvidia-rtx-a6000"),
        ("NVIDIA L40S", "nvidia-l40s"),
        ("NVIDIA H200 NVL", "nvidia-h200"),
        ("NVIDIA Graphics Device", "nvidia-gpu"),
    ],
)
def test_a_gpu_is_named_by_its_chip(name: str, kind: str) -> None:
    assert nvidia.kind_of(name) == kind


def test_the_agents_own_restriction_on_gpus_is_kept() -> None:
    assert nvidia.is_visible(None, 3, "GPU-aa")
    assert nvidia.is_visible("0, 3", 3, "GPU-aa")
    assert not nvidia.is_visible("0,1", 3, "GPU-aa")
    assert nvidia.is_visible("GPU-a", 3, "GPU-aa")
    assert not nvidia.is_visible("", 0, "GPU-aa")


def test_without_a_driver_there_are_no_gpus_and_no_measurements() -> None:
    assert nvidia.discover() == []
    assert nvidia.measure([0]) == {}
    assert devices.measure([("cpu", 0)]) == {}


def test_gpus_share_the_cores() -> None:
    inventory = [Device("nvidia-h100", n, "H100", 1) for n in range(2)]
    environment = devices.environment_for([("nvidia-h100", 1)], inventory)
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert environment["JAX_PLATFORMS"] == "cuda,cpu"
    assert environment["OMP_NUM_THREADS"] == str(max(1, cpu.core_count() // 2))


def tpu_machine(root: Path, *, device_files: tuple[str, ...], pci_id: str | None) -> Path:
    for name in device_files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    if pci_id:
        for number in range(len(device_files)):
            folder = root / f"sys/bus/pci/devices/0000:00:0{number}.0"
            folder.mkdir(parents=True)
            (folder / "vendor").write_text("0x1ae0\n")
            (folder / "device").write_text(f"{pci_id}\n")
    return root


def test_chips_behind_accel_files(tmp_path: Path) -> None:
    root = tpu_machine(tmp_path, device_files=("dev/accel0", "dev/accel1"), pci_id="0x005e")
    found = tpu.discover(root, {})
    assert [(one.kind, one.index) for one in found] == [("tpu-v4", 0), ("tpu-v4", 1)]
    assert found[0].memory_bytes == 32 * 1024**3


def test_chips_behind_vfio_files_need_a_google_device(tmp_path: Path) -> None:
    files = ("dev/vfio/0", "dev/vfio/1", "dev/vfio/vfio")
    assert tpu.discover(tpu_machine(tmp_path / "other", device_files=files, pci_id=None), {}) == []
    found = tpu.discover(tpu_machine(tmp_path / "tpu", device_files=files, pci_id="0x0063"), {})
    assert [one.kind for one in found] == ["tpu-v5e", "tpu-v5e"]


@pytest.mark.parametrize(
    ("given", "kind"), [("v5litepod-8", "tpu-v5e"), ("v5p-8", "tpu-v5p"), ("v6e-4", "tpu-v6e"), ("v4-8", "tpu-v4")]
)
def test_the_accelerator_type_names_the_chip(tmp_path: Path, given: str, kind: str) -> None:
    root = tpu_machine(tmp_path, device_files=("dev/accel0",), pci_id=None)
    assert [one.kind for one in tpu.discover(root, {"TPU_ACCELERATOR_TYPE": given})] == [kind]


def test_a_part_of_a_host_is_made_visible() -> None:
    inventory = [Device("tpu-v5e", n, "TPU v5e", 1) for n in range(8)]
    environment = devices.environment_for([("tpu-v5e", n) for n in (7, 4, 5, 6)], inventory)
    assert environment["TPU_VISIBLE_CHIPS"] == "4,5,6,7"
    assert environment["TPU_CHIPS_PER_PROCESS_BOUNDS"] == "2,2,1"
    with pytest.raises(ValueError, match="grid"):
        devices.environment_for([("tpu-v5e", n) for n in range(3)], inventory)
