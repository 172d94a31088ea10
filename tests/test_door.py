"""The door: what every equation refuses, argument by argument, and that numbers, arrays and tensors are treated alike.

These tests are made from the letters: a new equation is asked as soon as it is registered.
"""

import inspect
import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyddpm import door, equations, forward, letters, posterior
from tinyddpm.arrays import to_numpy
from tinyddpm.equation import find
from tinyddpm.examples import admitted, instance
from tinyddpm.letters import Interval, Step

from .strategies import edged_schedules, refused

ALL = [pytest.param(known, id=known.name, marks=pytest.mark.concerns(known.name)) for known in equations()]
SAMPLE = (3, 2)
CALLER = {"options"}


def call(known, given):
    return known.function(*instance(known), **given)


def examples(known, shape=(), like=None):
    return admitted(known, np.random.default_rng(1), shape, like)


# What each kind of argument must never be. ---------------------------------------------------------------------------

OF_NO_KIND = [True, "abc", 1j, object(), None]
NUMBERS = [
    math.nan,
    [0.5],
    (0.5,),
    np.array([1, 2]),
    np.ones(2, np.float16),
    np.array(["a"]),
    np.array([0.5, math.nan]),
]
TENSORS = [
    torch.tensor([1, 2]),
    torch.ones(2, dtype=torch.float16),
    torch.tensor([0.5, math.nan]),
    torch.tensor(math.nan),
]


def outside(domain):
    """Numbers just outside an interval, and infinite ones, as Python, NumPy and torch have them."""
    bounds = [(-math.inf, math.nextafter(domain.low, -math.inf)), (math.inf, math.nextafter(domain.high, math.inf))]
    numbers = {number for pair in bounds for number in pair if not domain.low <= number <= domain.high}
    for number in sorted(numbers):
        yield from (number, np.float64(number), np.full(2, number), torch.tensor([number, number], dtype=torch.float64))


def bad_values(argument):
    """What this argument must not be."""
    kind, domain = argument.kind, argument.domain
    none = [] if argument.optional else [None]
    if kind in ("number", "scalar"):
        return [*OF_NO_KIND[:-1], *none, *NUMBERS, *TENSORS, *outside(domain)]
    if kind == "pixels":
        whole = [value for value in NUMBERS + TENSORS if "int" not in str(getattr(value, "dtype", ""))]
        return [*OF_NO_KIND[:-1], *none, *whole, *outside(domain)]
    if kind == "step":
        return [*OF_NO_KIND, 5, 0.5, (0.1, 0.9, 0.9, 1.0, 0.1, 0.0), [0.1]]
    if kind == "noising":
        return [*OF_NO_KIND, math.nan, 1.5, -0.1, [0.5]]
    if kind == "whole":
        return [*OF_NO_KIND[:-1], *none, 2.5, math.nan, "2", [2], domain.low - 1]
    if kind == "times":
        return [*OF_NO_KIND[:-1], *none, [1.5], np.array([0.5]), [True], [0], [10**6]]
    if kind in ("table", "covariance"):
        finite = [] if domain.high == math.inf else [[math.inf] * 3]
        return [*OF_NO_KIND[1:-1], *none, [math.nan] * 3, ["a"] * 3, np.array(["a"]), *finite]
    if kind == "distribution":
        return [*OF_NO_KIND[1:], [0.5, 0.6], [1.5, -0.5], [math.nan, 1.0], [[0.5, 0.5], [0.5, 0.4]], 0.5]
    if kind == "choice":
        return ["nonsense", 5, None, ["noise"]]
    if kind == "object":
        return [*OF_NO_KIND, 5]
    if kind == "function":
        return [*OF_NO_KIND, 5]
    return []


def refuses_each_argument_by_name(known):
    for argument in known.arguments:
        for value in bad_values(argument):
            given = {**examples(known), argument.name: value}
            with pytest.raises((ValueError, TypeError)) as problem:
                call(known, given)
            assert argument.name in str(problem.value), f"{argument.name} = {value!r}: {problem.value}"


def answers_what_is_admitted(known):
    for like in (None, np.zeros(SAMPLE), torch.zeros(SAMPLE, dtype=torch.float64)):
        call(known, examples(known, () if like is None else SAMPLE, like))


def elementwise(known):
    """The arguments that go element by element."""
    return [a for a in known.arguments if a.kind in ("number", "pixels") and a.name not in known.shapes]


def misfits():
    """Shapes that broadcast with (3, 2) and are not it, and those that do not broadcast at all."""
    return [(2,), (3,), (1, 3, 2), (4, 3, 2), (2, 3), (3, 3), (0, 2)]


def lets_no_operand_enlarge_or_misalign_the_others(known):
    names = [argument.name for argument in elementwise(known)]
    for like in (np.zeros(SAMPLE), torch.zeros(SAMPLE, dtype=torch.float64)):
        given = examples(known, SAMPLE, like)
        arrays = [name for name in names if getattr(given[name], "shape", ()) == SAMPLE]
        for name in arrays if len(arrays) > 1 else ():
            for shape in misfits():
                with refused([name, "shapes must be equal"]):
                    call(known, {**given, name: 0 * like[:1, :1].reshape(1)[0] + resized(given[name], shape)})
        for name, step in given.items():
            for bad in ((3,), (2,), (4, 1), (3, 3), (1, 3, 1)) if isinstance(step, Step) and arrays else ():
                with refused([name, "shapes must be equal"]):
                    call(known, {**given, name: Step._make(resized(field, bad) for field in step)})


def resized(array, shape):
    """The first value of an array, in another shape."""
    first = array.reshape(-1)[0]
    return first.expand(shape) if isinstance(array, torch.Tensor) else np.full(shape, first)


def asks_for_one_library_and_steps_of_the_dtype_of_the_samples(known):
    given = examples(known, SAMPLE, np.zeros(SAMPLE))
    other = examples(known, SAMPLE, torch.zeros(SAMPLE, dtype=torch.float64))
    single = examples(known, SAMPLE, np.zeros(SAMPLE, np.float32))
    mixed = [
        a.name for a in known.arguments if isinstance(other[a.name], torch.Tensor) or _is_array_step(other[a.name])
    ]
    mixed = [name for name in mixed if type(given[name]) is not type(other[name]) or _is_array_step(given[name])]
    samples = [name for name in mixed if not isinstance(given[name], Step)]
    for name in mixed if len(mixed) > 1 else ():
        with refused([name], TypeError):
            call(known, {**given, name: other[name]})
        if isinstance(given[name], Step) and samples:
            with refused([name, "dtype"], TypeError):
                call(known, {**given, name: single[name]})


def _is_array_step(value):
    return isinstance(value, Step) and hasattr(value[0], "shape")


def asks_for_fields_above_0_in_every_library(known):
    for argument in known.arguments:
        asked = [index for index, least in argument.fields if argument.kind == "step" and least > 0]
        for index in asked:
            for like in (None, np.zeros(SAMPLE), torch.zeros(SAMPLE, dtype=torch.float64)):
                given = examples(known, () if like is None else SAMPLE, like)
                step = given[argument.name]
                zeroed = step._replace(**{step._fields[index]: 0 * step[index]})
                with refused([f"{argument.name}.{step._fields[index]}", "above 0"]):
                    call(known, {**given, argument.name: zeroed})


def asks_what_a_function_gives(known):
    for argument in (a for a in known.arguments if a.kind == "function"):
        if argument.domain.endswith(("number", "any")):
            continue
        for wrong in (lambda *_: "text", lambda *_: np.ones((7, 5, 2)), lambda *_: torch.ones(7, 5, 2)):
            with pytest.raises((ValueError, TypeError)) as problem:
                call(known, {**examples(known), argument.name: wrong})
            assert argument.name in str(problem.value)


@pytest.mark.parametrize("known", ALL)
def test_the_door_of_an_equation(known):
    answers_what_is_admitted(known)
    refuses_each_argument_by_name(known)
    lets_no_operand_enlarge_or_misalign_the_others(known)
    asks_for_one_library_and_steps_of_the_dtype_of_the_samples(known)
    asks_for_fields_above_0_in_every_library(known)
    asks_what_a_function_gives(known)


# Numbers, arrays and tensors alike. ----------------------------------------------------------------------------------

ALGEBRA = [
    pytest.param(known.name, id=known.name, marks=pytest.mark.concerns(known.name))
    for known in equations()
    if not known.unproved
    or known.name in ("posterior.sampling_step", "elbo.min_snr_weight", "elbo.kl_to_standard_normal")
]


def fitting(schedule, argument):
    """Steps of a schedule, first, last and between, that an argument admits."""
    times = sorted({1, 2, 3, (schedule.T + 1) // 2, schedule.T - 1, schedule.T} & {*range(1, schedule.T + 1)})
    return [step for step in map(schedule.__getitem__, times) if all(step[i] > 0 for i, _ in argument.fields)]


def drawn(data, argument, count, schedule):
    """So many values of an argument: numbers of its domain, its ends among them, or steps at times, t = 1 among them."""
    if argument.kind == "step":
        fits = fitting(schedule, argument)
        picked = data.draw(st.lists(st.integers(0, len(fits) - 1), min_size=count, max_size=count))
        return [fits[i] for i in picked]
    low, high = max(argument.domain.low, -5.0), min(argument.domain.high, 5.0)
    low, high = (math.ceil(low * 1000) / 1000, math.floor(high * 1000) / 1000) if high - low > 0.01 else (low, high)
    values = st.integers(round(low * 1000), round(high * 1000)).map(lambda thousandths: thousandths / 1000)
    values = values.filter(lambda value: argument.domain.low <= value <= argument.domain.high)
    return data.draw(st.lists(values, min_size=count, max_size=count))


KINDS = {
    "numpy": (lambda values: np.array(values), 1e-12),
    "torch": (lambda values: torch.tensor(values, dtype=torch.float64), 1e-12),
    "numpy32": (lambda values: np.array(values, np.float32), 1e-4),
    "torch32": (lambda values: torch.tensor(values, dtype=torch.float32, requires_grad=True), 1e-4),
}


@pytest.mark.parametrize("name", ALGEBRA)
@settings(max_examples=10)
@given(data=st.data())
def test_arrays_and_tensors_are_the_numbers(name, data):
    """Each element of a batch is what the number alone gives, at t = 1, beta = 1 and at the ends of every domain too."""
    known, count, schedule = find(name), 3, data.draw(edged_schedules())
    required = [a for a in known.arguments if default(known, a) is inspect.Parameter.empty]
    if not all(fitting(schedule, a) for a in required if a.kind == "step"):
        return
    columns = {a.name: drawn(data, a, count, schedule) for a in required if a.kind in ("number", "pixels", "step")}
    fixed = {name: value for name, value in examples(known).items() if name not in columns}
    fixed = {a.name: fixed[a.name] for a in required if a.name in fixed}
    try:
        alone = [call(known, {**fixed, **{name: c[i] for name, c in columns.items()}}) for i in range(count)]
    except (ValueError, OverflowError, ZeroDivisionError):  # an order between arguments that these do not keep
        return
    for convert, rtol in KINDS.values():
        arrays = {
            name: Step._make(map(convert, zip(*column, strict=True)))
            if isinstance(column[0], Step)
            else convert(column)
            for name, column in columns.items()
        }
        if convert is not KINDS["numpy"][0] and convert is not KINDS["torch"][0] and ill_conditioned(columns):
            continue
        batch = call(known, {**fixed, **arrays})
        kind = convert([0.5] * count)
        parts = batch if isinstance(batch, tuple) else (batch,)
        singles = [one if isinstance(one, tuple) else (one,) for one in alone]
        for j, part in enumerate(parts):
            assert type(part) is type(kind) and part.shape == (count,)
            if not isinstance(singles[0][j], complex):
                assert part.dtype == kind.dtype
            truth = np.array([single[j] for single in singles])
            scale = max(1.0, float(np.abs(truth[np.isfinite(truth)]).max(initial=0.0)))
            np.testing.assert_allclose(to_numpy(part), truth, rtol=rtol, atol=rtol * scale)


def default(known, argument):
    return inspect.signature(known.function).parameters[argument.name].default


def ill_conditioned(columns):
    """Whether float32 cannot hold the arguments themselves: shares of variance that are all but 0 or 1."""
    tiny = [field for column in columns.values() for step in column if isinstance(step, Step) for field in step]
    return any(0 < field < 1e-3 for field in tiny)


# The rest of what the door promises. ---------------------------------------------------------------------------------


def test_intervals_are_read_as_they_are_written():
    assert Interval.read("real") == Interval(-sys.float_info.max, sys.float_info.max, "")
    half_open = Interval.read("(0, 1]")
    assert half_open.low == 5e-324 and half_open.high == 1.0 and half_open.words == "in (0, 1]"
    assert Interval.read("[0, inf)").high == sys.float_info.max and Interval.read("(0, inf)").words == "above 0"
    assert Interval.read("[-inf, inf)").low == -math.inf


def test_a_letter_without_a_row_does_not_import():
    from tinyddpm.equation import equation

    def nameless(unheard_of):
        """$$ y = x $$"""

    with refused(["unheard_of", "tinyddpm/letters.py", "letter("]):
        equation("Ho et al. 2020, Eq. 7")(nameless)


def test_a_letter_has_one_row():
    with refused(["x_t", "has a row already"]):
        letters.letter("x_t", "x", "again")


@pytest.mark.parametrize("whole", [1, -3, 0])
def test_python_integers_become_floats(whole):
    result = forward.diffuse(whole, 2, forward.linear()[10])
    assert result == forward.diffuse(float(whole), 2.0, forward.linear()[10]) and type(result) is float


def test_an_error_has_one_frame_of_ours():
    with pytest.raises(ValueError) as problem:
        posterior.mean(math.nan, 0.0, forward.linear()[10])
    frames = [entry for entry in problem.traceback if entry.path.name == "door.py"]
    assert len(frames) == 1 and frames[0].name == "mean"


def test_large_arrays_are_not_printed():
    with pytest.raises(ValueError) as problem:
        posterior.variance(forward.linear()[10]) and forward.marginal(
            np.r_[np.zeros(1000), np.inf], forward.linear()[10]
        )
    assert "values from 0.0 to inf" in str(problem.value) and len(str(problem.value)) < 200


def test_equations_within_equations_are_not_asked_again(monkeypatch):
    asked = []
    monkeypatch.setattr(door, "_plain_array", lambda value, low, high: asked.append(value) or True)
    x = np.full(3, 0.1)
    posterior.ancestral_step(x, x, x, forward.linear()[10], 0.1)
    assert len(asked) == 3  # the three arrays, and none of them by the equations of which this one is made


def test_a_readers_function_is_asked_inside_an_equation():
    from tinyddpm import langevin

    def wrong(x):
        return langevin.gaussian_score(x, 0.0, -1.0)

    with refused(["var", "-1.0"]):
        langevin.langevin(wrong, np.zeros((2, 1)), 0.1, 2, np.random.default_rng(0))


def test_vmap_jacobians_and_fake_tensors_pass():
    step = forward.linear()[10]
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)
    expected = posterior.mean(x, 2 * x, step)
    torch.testing.assert_close(torch.vmap(lambda a, b: posterior.mean(a, b, step))(x, 2 * x), expected)
    jacobian = torch.func.jacrev(lambda a: posterior.mean(a, 2 * a, step))(x)
    torch.testing.assert_close(jacobian, torch.diag(torch.full((5,), float(posterior.mean(1.0, 2.0, step)))).double())
    meta = torch.zeros(4, device="meta")
    assert posterior.mean(meta, meta, step).device.type == "meta"


def test_a_bare_function_is_the_formula_alone():
    assert door.bare(posterior.mean)(math.nan, 0.0, forward.linear()[10]) != 0
    assert door.bare(math.sqrt) is math.sqrt
