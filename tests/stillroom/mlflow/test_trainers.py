"""Libraries that log to MLflow by themselves: two variables, no code of ours, and their curves appear."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.tracking import Server

TRAINER = """
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

torch.manual_seed(0)
config = LlamaConfig(vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
                     max_position_embeddings=16)
rows = [{"input_ids": [i % 16, (i + 1) % 16] * 4, "labels": [i % 16, (i + 1) % 16] * 4} for i in range(16)]
arguments = TrainingArguments("OUT", max_steps=6, logging_steps=1, per_device_train_batch_size=4, eval_strategy="steps",
                              eval_steps=3, save_steps=6, report_to="mlflow", run_name="tiny", use_cpu=True,
                              learning_rate=0.01, disable_tqdm=True)
Trainer(LlamaForCausalLM(config), arguments, train_dataset=rows, eval_dataset=rows[:4]).train()
"""
OPTUNA = """
import mlflow, optuna

mlflow.set_experiment("study")
def objective(trial):
    with mlflow.start_run(nested=True, run_name=f"trial {trial.number}"):
        x = trial.suggest_float("x", -1, 1)
        mlflow.log_params(trial.params)
        mlflow.log_metric("value", x * x)
        return x * x
optuna.logging.set_verbosity(optuna.logging.ERROR)
with mlflow.start_run(run_name="search"):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=3)
    mlflow.log_metric("best", study.best_value)
"""


def script(server: Server, folder: Path, source: str, **env: str) -> None:
    ours = ("STILLROOM", "MLFLOW", "DATABASE")
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
        "MLFLOW_TRACKING_URI": server.url, "MLFLOW_TRACKING_TOKEN": server.token(), "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet", **env,
    }  # fmt: skip
    (folder / "train.py").write_text(source.replace("OUT", str(folder / "out")))
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=folder, env=variables, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_a_transformers_trainer_reports_its_curves_and_checkpoints(server: Server, tmp_path: Path) -> None:
    more = {"MLFLOW_EXPERIMENT_NAME": "hugging", "HF_MLFLOW_LOG_ARTIFACTS": "1", "MLFLOW_TAGS": '{"a": "b"}'}
    script(server, tmp_path, TRAINER, **more)
    client = server.client()
    experiment = client.get_experiment_by_name("hugging")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status, run.data.tags["a"]) == ("tiny", "FINISHED", "b")
    assert float(run.data.params["learning_rate"]) == 0.01
    losses = client.get_metric_history(run.info.run_id, "loss")
    assert [point.step for point in losses] == [1, 2, 3, 4, 5, 6]
    assert len(client.get_metric_history(run.info.run_id, "eval_loss")) == 2
    query = {"runs": [run.info.run_id], "keys": ["loss", "eval_loss"]}
    chart = server.cast.vera.http.post("/series/query", query).body["series"]
    assert {line["key"]: line["n"] for line in chart} == {"loss": 6, "eval_loss": 2}
    assert [line["value"] for line in chart if line["key"] == "loss"] == [[point.value for point in losses]]
    (model,) = client.search_logged_models([experiment.experiment_id])
    assert model.source_run_id == run.info.run_id
    down = client.list_logged_model_artifacts(model.model_id)
    assert "artifacts" in {found.path for found in down}


def test_an_optuna_study_is_a_run_with_nested_runs(server: Server, tmp_path: Path) -> None:
    script(server, tmp_path, OPTUNA)
    client = server.client()
    runs = client.search_runs([client.get_experiment_by_name("study").experiment_id], order_by=["start_time ASC"])
    assert [run.info.run_name for run in runs] == ["search", "trial 0", "trial 1", "trial 2"]
    assert {run.data.tags.get("mlflow.parentRunId") for run in runs[1:]} == {runs[0].info.run_id}
    assert runs[0].data.metrics["best"] == min(run.data.metrics["value"] for run in runs[1:])
