"""Carries out a schedule: one compiled scan over server steps, inside it a map over the reports of a step.

Past models lie in a ring buffer, so that a report starts from the model it was sent. The inner map is a scan, a vmap,
or a scan over vmapped chunks, over one or several devices: on a CPU a scan usually wins, because vmap turns matrix
products with a client's own weights into many small ones. A client makes as many steps as its own examples need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from models_core.federated.simulation import client as clients
from models_core.federated.simulation import dual
from models_core.federated.simulation.client import ClientData, LocalTraining, Task, Terms
from models_core.federated.simulation.rule import Rule, Sums, norm
from models_core.federated.simulation.schedule import Schedule
from models_core.federated.simulation.uplink import Uplink, overflows

Params = Any
_NOISE_STREAM, _COMPRESSION_STREAM, _RULE_STREAM = 2**30, 2**30 + 1, 2**30 + 2


@dataclass(frozen=True, slots=True)
class Regulariser:
    """Distillation from the server's own past: teachers are models or their averages, numbered by server step."""

    weight: float
    temperature: float
    source: Literal["models", "averages"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything static: what clients do, what the server does, and how it is laid out.

    average_decay: of the exponential average of the models, 0 for none; it warms up as min(decay, (1 + t) / (10 + t)).
    chunk: reports trained at once by vmap; 1 is a scan, the cohort's width is one vmap. devices: over which the reports
    of a step are spread.
    """

    task: Task
    local: LocalTraining
    rule: Rule
    regulariser: Regulariser | None = None
    uplink: Uplink = Uplink()
    average_decay: float = 0.0
    chunk: int = 1
    devices: int = 1

    @property
    def width(self) -> int:
        """The number of reports of a step must be a multiple of this."""
        return self.chunk * self.devices

    @property
    def terms(self) -> Terms:
        """What is added to the clients' loss."""
        if self.regulariser:
            return Terms(self.rule.prox_mu, self.regulariser.weight, self.regulariser.temperature)
        return Terms(self.rule.prox_mu, self.rule.distill_weight, self.rule.temperature)


class ServerState(NamedTuple):
    """ring: the last models, the one before server step k at k % history. teachers: the same of teachers, or ().
    rule: the algorithm's state. average: of the models, or (). controls: every client's control variate, or (). clip:
    the present clipping norm. key: raw; the randomness of a report depends on (key, client, participation) alone. step:
    server steps made.
    """

    ring: Params
    teachers: Params
    rule: Any
    average: Params
    controls: Params
    clip: Float[Array, ""]
    key: UInt32[Array, " 2"]
    step: Int[Array, ""]


class Reports(NamedTuple):
    """A stretch of a schedule, padded to the engine's length; steps that are not `active` do nothing."""

    client: Int[Array, "steps reports"]
    version: Int[Array, "steps reports"]
    participation: Int[Array, "steps reports"]
    teacher: Int[Array, "steps reports"]
    weight: Float[Array, "steps reports"]
    late_weight: Float[Array, "steps reports"]
    fresh: Int[Array, " steps"]
    stale: Int[Array, " steps"]
    active: Bool[Array, " steps"]


Numbers = dict[str, Array]
Advance = Callable[[ServerState, ClientData, Reports], tuple[ServerState, Numbers]]


def start(plan: Plan, params: Params, schedule: Schedule, key: Key[Array, ""], *, fleet: int = 0) -> ServerState:
    """The state before the first server step. fleet: the number of clients, for rules with control variates."""
    history, ages = schedule.history, schedule.teacher_age + 1
    if plan.regulariser and plan.regulariser.source == "models":
        history = max(history, ages)

    def stacked(count: int) -> Params:
        return jax.tree.map(lambda leaf: jnp.stack([leaf] * count), params)

    own_ring = plan.rule.teacher is not None or (plan.regulariser and plan.regulariser.source == "averages")
    averages = plan.average_decay > 0 or (plan.regulariser and plan.regulariser.source == "averages")
    return ServerState(
        ring=stacked(history),
        teachers=stacked(ages) if own_ring else (),
        rule=plan.rule.init(params),
        average=jax.tree.map(jnp.array, params) if averages else (),
        controls=jax.tree.map(lambda leaf: jnp.zeros((fleet, *leaf.shape)), params) if plan.rule.controls else (),
        clip=jnp.asarray(plan.rule.clip or plan.uplink.clip, jnp.float32),
        # A copy: the state is given away, the caller keeps its key.
        key=jnp.array(jax.random.key_data(key)),
        step=jnp.zeros((), jnp.int32),
    )


def current(state: ServerState) -> Params:
    """The server's model."""
    return jax.tree.map(lambda ring: ring[state.step % ring.shape[0]], state.ring)


def replaced(state: ServerState, params: Params) -> ServerState:
    """The same state with another present model."""
    ring = jax.tree.map(lambda ring, w: ring.at[state.step % ring.shape[0]].set(w), state.ring, params)
    return state._replace(ring=ring)


def shown(plan: Plan, state: ServerState) -> Params:
    """The model to evaluate: the average where one is asked for, or what the algorithm ships."""
    if plan.average_decay > 0:
        return state.average
    return plan.rule.shown(current(state), state.rule)


def stretch(schedule: Schedule, first: int, last: int, length: int, *, width: int = 1) -> Reports:
    """Server steps first .. last - 1, at most `length` of them; rows are padded to a multiple of `width`."""
    rows = np.arange(first, first + length)
    active = rows < last
    rows = np.where(active, rows, first)
    columns = -schedule.client.shape[1] % width

    def cut(name: str, kind: Any) -> Array:
        return jnp.asarray(np.pad(getattr(schedule, name)[rows].astype(kind), ((0, 0), (0, columns))))

    return Reports(
        client=cut("client", np.int32),
        version=cut("version", np.int32),
        participation=cut("participation", np.int32),
        teacher=cut("teacher", np.int32),
        weight=cut("weight", np.float32),
        late_weight=cut("late_weight", np.float32),
        fresh=jnp.asarray(schedule.fresh[rows]),
        stale=jnp.asarray(schedule.stale[rows]),
        active=jnp.asarray(active),
    )


def build_step(plan: Plan) -> Callable[..., tuple[ServerState, Numbers]]:
    """`server_step(state, data, row, extra) -> state, numbers`; extra: added to the change before the server's rule.

    factor: of extra. to_length: whether extra is first brought to the length of the change.
    """
    summed = _build_sums(plan)

    def server_step(
        state: ServerState,
        data: ClientData,
        row: Reports,
        extra: Params = None,
        *,
        factor: float = 1.0,
        to_length: bool = False,
    ) -> tuple[ServerState, Numbers]:
        root = jax.random.wrap_key_data(state.key)
        key = jax.random.fold_in(jax.random.fold_in(root, _NOISE_STREAM), state.step)
        params = current(state)
        total, controls = summed(state, data, row)
        change = plan.uplink.decode(total["change"])
        if plan.uplink.noise:
            change = plan.uplink.add_noise(change, state.clip, jax.random.fold_in(key, 0))
        if extra is not None:
            scale = norm(change) / jnp.maximum(norm(extra), 1e-12) if to_length else jnp.ones(())
            extra = jax.tree.map(lambda leaf: leaf * (factor * scale), extra)
            change = jax.tree.map(jnp.add, change, extra)
        of_all = ()
        if plan.rule.controls:
            of_all = jax.tree.map(lambda c: jnp.sum(c, axis=0) / state_clients(state), controls)
        late = plan.uplink.decode(total["late"]) if plan.rule.late else ()
        sums = Sums(change, late, row.fresh, row.stale, jax.random.fold_in(root, _RULE_STREAM), of_all)
        moved, rule_state = plan.rule.apply(params, state.rule, sums)
        following = state.step + 1

        def write(ring: Params, value: Params) -> Params:
            return jax.tree.map(lambda ring, leaf: ring.at[following % ring.shape[0]].set(leaf), ring, value)

        average = state.average
        if average != ():
            count = following.astype(jnp.float32)
            decay = jnp.minimum(plan.average_decay or 0.99, (1 + count) / (10 + count))
            average = jax.tree.map(lambda a, w: decay * a + (1 - decay) * w, average, moved)
        teachers = state.teachers
        if plan.rule.teacher is not None:
            teachers = write(teachers, plan.rule.teacher(params, moved, rule_state, sums))
        elif teachers != ():
            teachers = write(teachers, average)
        numbers = {
            "loss": total["loss"] / jnp.maximum(total["weight"], 1e-12),
            "update_norm": norm(jax.tree.map(jnp.subtract, moved, params)),
        }
        if plan.uplink.clip or plan.rule.clip:
            numbers |= {"clip": state.clip, "unclipped": total["unclipped"]}
        if plan.uplink.modulus_bits:
            numbers["overflows"] = overflows(total["plain"], plan.uplink.modulus_bits, plan.uplink.fraction_bits)
        held = state.controls
        if plan.rule.controls:
            held = jax.tree.map(lambda all_, c: all_.at[row.client].add(c), held, controls)
        after = ServerState(
            ring=write(state.ring, moved),
            teachers=teachers,
            rule=rule_state,
            average=average,
            controls=held,
            clip=plan.uplink.next_clip(state.clip, total["unclipped"], jax.random.fold_in(key, 2)),
            key=state.key,
            step=following,
        )
        return after, numbers

    return server_step


def state_clients(state: ServerState) -> int:
    """How many clients have a control variate."""
    return int(jax.tree.leaves(state.controls)[0].shape[0])


def build_advance(plan: Plan) -> Advance:
    """`advance(state, data, reports)`, not compiled: a scan over server steps."""
    server_step = build_step(plan)

    def advance(state: ServerState, data: ClientData, reports: Reports) -> tuple[ServerState, Numbers]:
        row = jax.tree.map(lambda column: column[0], reports)
        shapes = jax.eval_shape(lambda s: server_step(s, data, row)[1], state)

        def idle(state: ServerState, row: Reports) -> tuple[ServerState, Numbers]:
            return state, jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

        def step(state: ServerState, row: Reports) -> tuple[ServerState, Numbers]:
            return server_step(state, data, row)

        return jax.lax.scan(lambda s, row: jax.lax.cond(row.active, step, idle, s, row), state, reports)

    return advance


def compile_advance(
    plan: Plan, *, example: tuple[ServerState, ClientData, Reports], side_by_side: bool = False
) -> Advance:
    """`advance(state, data, reports) -> state, numbers of each step`, compiled; the old state's buffers are given away.

    example: arguments of the shapes to compile for. side_by_side: the state has a leading axis of models that share the
    examples; so may the reports and the clients' rows (seeds with partitions and delays of their own).

    Numbers: "loss", the clients' mean loss while training, weighted as their deltas; "update_norm", of the server's
    step; "clip" and "unclipped" (a count) with clipping; "overflows" with secure sums.
    """
    advance = build_advance(plan)
    if side_by_side:
        _, data, reports = example
        rows: Any = 0 if data.rows.ndim == 2 else None
        nobody: Any = None
        data_axes = ClientData(x=nobody, y=nobody, rows=rows, begin=rows, size=rows, gram=rows)
        advance = jax.vmap(advance, in_axes=(0, data_axes, 0 if reports.client.ndim == 3 else None))
    compiled: Advance = partial(jax.jit, donate_argnums=0)(advance).lower(*example).compile()
    return compiled


def _build_sums(plan: Plan) -> Callable[[ServerState, ClientData, Reports], tuple[dict[str, Any], Params]]:
    """The sums over the reports of a step, and the change of each one's control variate, [reports, ...] or ()."""
    terms = plan.terms
    uplink = Uplink(clip=plan.rule.clip) if plan.rule.clip else plan.uplink

    def report(state: ServerState, data: ClientData, row: Reports) -> tuple[dict[str, Any], Params]:
        key = jax.random.wrap_key_data(state.key)
        key = jax.random.fold_in(jax.random.fold_in(key, row.client), row.participation)
        begin = jax.tree.map(lambda ring: ring[row.version % ring.shape[0]], state.ring)
        teacher, taught = None, None
        if terms.distill_weight:
            source = state.teachers if state.teachers != () else state.ring
            teacher = jax.tree.map(lambda ring: ring[row.teacher % ring.shape[0]], source)
            taught = (row.teacher >= 0).astype(jnp.float32)
        correction, own = None, None
        if plan.rule.controls:
            own = jax.tree.map(lambda held: held[row.client], state.controls)
            correction = jax.tree.map(jnp.subtract, state.rule, own)
        work = (plan.task, plan.local, terms, begin, data, row.client, key)
        if correction is None and dual.pays(plan.task, plan.local, terms, begin, data):
            end, loss, steps = dual.train(*work, teacher=teacher, taught=taught)
        else:
            end, loss, steps = clients.train(*work, teacher=teacher, taught=taught, correction=correction)
        anchor = current(state) if plan.rule.anchor == "present" else begin
        delta = jax.tree.map(jnp.subtract, end, anchor)
        counts = ((row.weight != 0) | (row.late_weight != 0)).astype(jnp.float32)
        controls: Params = ()
        if correction is not None:
            scale = 1 / (jnp.maximum(steps, 1).astype(jnp.float32) * plan.local.lr)
            controls = jax.tree.map(lambda d, c: counts * (-c - d * scale), delta, correction)
        delta, within = uplink.prepare(delta, state.clip, jax.random.fold_in(key, _COMPRESSION_STREAM))
        weighted = jax.tree.map(lambda d: row.weight * d, delta)
        sums = {
            "change": uplink.encode(weighted),
            "loss": row.weight * loss,
            "weight": row.weight,
            "unclipped": within * (row.weight != 0).astype(jnp.float32),
        }
        if plan.rule.late:
            sums["late"] = uplink.encode(jax.tree.map(lambda d: row.late_weight * d, delta))
        if uplink.modulus_bits:
            sums["plain"] = weighted
        return sums, controls

    def over(state: ServerState, data: ClientData, rows: Reports) -> tuple[dict[str, Any], Params]:
        shapes = jax.eval_shape(report, state, data, jax.tree.map(lambda column: column[0], rows))
        nothing = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
        zero = nothing[0]

        def add(total: dict[str, Any], row: Reports) -> tuple[dict[str, Any], Params]:
            def work(total: dict[str, Any]) -> tuple[dict[str, Any], Params]:
                sums, controls = report(state, data, row)
                return jax.tree.map(jnp.add, total, sums), controls

            def skip(total: dict[str, Any]) -> tuple[dict[str, Any], Params]:
                return total, nothing[1]

            after: tuple[dict[str, Any], Params] = jax.lax.cond(
                (row.weight != 0) | (row.late_weight != 0), work, skip, total
            )
            return after

        def add_chunk(total: dict[str, Any], chunk: Reports) -> tuple[dict[str, Any], Params]:
            sums, controls = jax.vmap(report, in_axes=(None, None, 0))(state, data, chunk)
            # dtype: sums of uint32 must wrap at 32 bits.
            summed = jax.tree.map(lambda t, s: t + jnp.sum(s, axis=0, dtype=s.dtype), total, sums)
            return summed, controls

        if plan.chunk == 1:
            return jax.lax.scan(add, zero, rows)
        chunks = jax.tree.map(lambda column: column.reshape(-1, plan.chunk), rows)
        total, controls = jax.lax.scan(add_chunk, zero, chunks)
        return total, jax.tree.map(lambda c: c.reshape(-1, *c.shape[2:]), controls)

    def summed(state: ServerState, data: ClientData, row: Reports) -> tuple[dict[str, Any], Params]:
        columns = row._replace(fresh=jnp.zeros_like(row.client), stale=jnp.zeros_like(row.client))
        columns = columns._replace(active=jnp.zeros(row.client.shape, bool))
        if plan.devices == 1:
            return over(state, data, columns)
        mesh = jax.make_mesh(
            (plan.devices,),
            ("clients",),
            axis_types=(jax.sharding.AxisType.Auto,),
            devices=jax.devices()[: plan.devices],
        )
        spec: Any = jax.sharding.PartitionSpec
        split, whole = spec("clients"), spec()

        def one_device(state: ServerState, data: ClientData, rows: Reports) -> tuple[dict[str, Any], Params]:
            total, controls = over(state, data, rows)
            add_up: Any = jax.lax.psum
            return add_up(total, "clients"), controls

        return jax.shard_map(
            one_device, mesh=mesh, in_specs=(whole, whole, split), out_specs=(whole, split), check_vma=False
        )(state, data, columns)

    return summed
