"""The autoencoders of chapter 4: networks of which the truth is known, and the command that trains them."""

import json
import math

import numpy as np
import pytest
import torch
from scipy import linalg
from torch.distributions import MultivariateNormal

from tinyddpm import vae_vs_vdm
from tinyddpm.checker import assert_equal, checks
from tinyddpm.experiments import autoencoders
from tinyddpm.vae_vs_vdm import LinearVAE

from .strategies import nodes, refused, seeded

pytestmark = pytest.mark.usefixtures("one_thread")

FEW = autoencoders.Config(steps=60, latent=3, width=16, batch=32)


@pytest.fixture(scope="module")
def pictures():
    from tinyddpm.data import digits

    return torch.from_numpy(digits().train).flatten(1)


@pytest.fixture(autouse=True)
def the_same_first_weights():
    """Layers draw them from the global generator, whatever ran before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def linear(rng, d=5, k=2, var=0.3):
    """A VAE with linear halves, whose decoder's columns are at right angles, so that its posterior has no correlations."""
    W = np.linalg.qr(rng.normal(size=(d, k)))[0] * [1.5, 0.7][:k]
    known = LinearVAE(W, rng.normal(size=d), var)
    model = autoencoders.VAE(d, k, var=var).double()
    model.log_var.data.fill_(math.log(var))  # the first weights are of single precision
    model.encoder, model.decoder = torch.nn.Linear(d, 2 * k).double(), torch.nn.Linear(k, d).double()
    model.decoder.weight.data, model.decoder.bias.data = torch.tensor(W), torch.tensor(known.b)
    return known, model


@checks(LinearVAE.elbo, vae_vs_vdm.vae_elbo)
def test_the_network_computes_the_bound():
    """With a linear decoder it is exact: the mean over the noise by quadrature."""
    rng = np.random.default_rng(1)
    known, model = linear(rng)
    x, (z, weights) = torch.tensor(rng.normal(size=5)), nodes(8, 2)
    with torch.no_grad():
        mean, var = (part.numpy() for part in model.encode(x))
        ours = model.elbo(x.expand(len(z), 5), torch.tensor(z)).numpy() @ weights
    assert_equal(ours, known.elbo(x.numpy(), mean, np.diag(var)))
    assert ours < known.log_prob(x.numpy())


@checks(LinearVAE.posterior, LinearVAE.log_prob)
def test_with_the_true_posterior_every_draw_gives_the_evidence():
    rng = np.random.default_rng(2)
    known, model = linear(rng)
    mean, cov = known.posterior(np.zeros((1, 5)))
    M = known.W.T @ known.W + known.var * np.eye(2)
    model.encoder.weight.data = torch.tensor(np.vstack([np.linalg.solve(M, known.W.T), np.zeros((2, 5))]))
    model.encoder.bias.data = torch.tensor(np.concatenate([mean[0], np.log(np.diag(cov))]))
    x = torch.tensor(rng.normal(size=(4, 5)))
    with torch.no_grad():
        for draws in (1, 3):
            noise = torch.randn(draws, 4, 2, generator=seeded(0), dtype=torch.float64)
            assert_equal(model.log_prob(x, noise).numpy(), known.log_prob(x.numpy()))


@pytest.mark.parametrize("kind", [autoencoders.AutoEncoder, autoencoders.VAE])
def test_a_network_learns(kind, pictures):
    """The loss of the first steps against the last, with every weight moved, and nothing seeded for others."""
    before = torch.get_rng_state()
    model = autoencoders._make(kind, FEW, 3)
    begun = {name: value.clone() for name, value in model.state_dict().items()}
    seen = []
    losses = autoencoders.fit(model, pictures, FEW, seen.append)
    assert len(losses) == FEW.steps and sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert seen[0] == 0 and seen[-1] == FEW.steps and 10 < len(seen) <= autoencoders.CHECKPOINTS
    assert all(not torch.equal(value, begun[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), before)
    again = autoencoders._make(kind, FEW, 3)
    assert autoencoders.fit(again, pictures, FEW) == losses


def test_a_fixed_variance_stays(pictures):
    model = autoencoders.VAE(latent=3, width=16, var=0.2)
    autoencoders.fit(model, pictures, FEW)
    assert float(model.decode(torch.zeros(1, 3)).var) == pytest.approx(0.2)
    assert model.log_var.grad is None


def test_shapes_and_losses(pictures):
    x = pictures[:5]
    vae, plain = autoencoders.VAE(latent=3, width=16), autoencoders.AutoEncoder(latent=3, width=16)
    assert [tuple(part.shape) for part in vae.encode(x)] == [(5, 3), (5, 3)]
    assert vae.decode(torch.zeros(2, 5, 3)).mean.shape == (2, 5, 64)
    assert vae.elbo(x, torch.zeros(5, 3)).shape == vae.log_prob(x, torch.zeros(2, 5, 3)).shape == (5,)
    assert plain.decode(plain.encode(x)).shape == (5, 64)
    assert torch.equal(vae.loss(x, seeded(0)), -vae.elbo(x, torch.randn(5, 3, generator=seeded(0))))
    restored = plain.decode(plain.encode(x))
    torch.testing.assert_close(plain.loss(x, seeded(0)), torch.cdist(x, restored).diag() ** 2)


def test_the_bound_lies_below_the_sharper_estimate(pictures):
    model = autoencoders._make(autoencoders.VAE, FEW, 3)
    autoencoders.fit(model, pictures, FEW)
    noise = torch.randn(50, len(pictures), 3, generator=seeded(0))
    with torch.no_grad():
        bound = torch.stack([model.elbo(pictures, one) for one in noise]).mean()
        assert bound < model.log_prob(pictures, noise[:5]).mean() < model.log_prob(pictures, noise).mean()


def test_an_autoencoder_read_as_a_vae_restores_the_same(pictures):
    model = autoencoders._make(autoencoders.AutoEncoder, FEW, 3)
    autoencoders.fit(model, pictures, FEW)
    code, decode = autoencoders.read_as_vae(model, pictures, pictures)
    with torch.no_grad():
        restored = model.decode(model.encode(pictures))
        noise = torch.randn(code.mean.shape, generator=seeded(5))
        error = ((decode(code.mean + code.var.sqrt() * noise).mean - pictures) ** 2).mean()
    torch.testing.assert_close(decode(code.mean).mean, restored, rtol=0, atol=1e-4)
    torch.testing.assert_close(code.mean.mean(0), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(torch.cov(code.mean.T), torch.eye(3), rtol=0, atol=0.01)
    # With the code drawn, and not its mean taken, the error is what the decoder's variance says.
    assert float(decode(code.mean.detach()).var) == pytest.approx(float(error), rel=0.05)


def test_the_linear_case_of_collapse(pictures):
    """Half the logarithm of eigenvalue over variance, or nothing; and no other decoder makes the data likelier."""
    x, var, latent = pictures.double().numpy(), 0.6, 12
    eigenvalues = linalg.svdvals(x - x.mean(0)) ** 2 / len(x)
    expected = np.log(np.maximum(eigenvalues[:latent] / var, 1)) / 2
    assert_equal(np.array(autoencoders.linear_collapse(x, [var], latent)), expected[None], atol=1e-12)
    assert 0 < np.sum(expected == 0) < latent

    values, directions = np.linalg.eigh(np.cov(x.T, bias=True))
    W = torch.tensor((directions * np.sqrt(np.maximum(values - var, 0)))[:, -latent:], requires_grad=True)
    model = MultivariateNormal(torch.tensor(x.mean(0)), W @ W.T + var * torch.eye(64, dtype=torch.float64))
    model.log_prob(torch.tensor(x)).mean().backward()
    assert W.grad.abs().max() < 1e-10


def test_how_uncertain_a_gradient_is():
    """For a linear decoder the reparameterised gradient is linear in the noise, and its variance a sum of squares."""
    rng = np.random.default_rng(3)
    known, model = linear(rng)
    x = torch.tensor(rng.normal(size=(2, 5)))
    model, x = model.float(), x.float()
    found = autoencoders.gradient_variances(model, x, seed=0, draws=20_000)
    with torch.no_grad():
        mean, var = (part.double().numpy() for part in model.encode(x))
    slope = known.W.T @ known.W / known.var
    assert found["reparameterized"] == pytest.approx(np.mean((slope**2 * var[:, None]).sum((1, 2))), rel=0.05)
    off = (x.double().numpy() - mean @ known.W.T - known.b) @ known.W / known.var
    square = np.mean((off**2).sum(1))
    # The mean of the draws is off by its standard error in each direction, of which 2 off is felt in the square.
    error = 2 * math.sqrt(square * found["reparameterized"] / 20_000)
    assert found["square"] == pytest.approx(square, abs=5 * error)
    assert found["reparameterized"] < found["centred"] < found["score_function"]


def test_two_distances_between_sets_by_hand():
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [3.0]])
    assert autoencoders.energy_distance(x, y) == pytest.approx(2 * (0 + 3 + 1 + 2) / 4 - 1 - 3)
    y = torch.tensor([[0.0], [1.0], [2.0], [3.0]])  # the third nearest is 3, 2, 2 and 3 away
    assert autoencoders.near(torch.tensor([[-2.9], [-3.1], [5.9], [6.1], [100.0]]), y) == pytest.approx(2 / 5)


def test_the_table_of_samples():
    """Means and standard deviations over the seeds, none for the digits themselves, and no minus before 0."""
    three = {"like_a_digit": [0.2, 0.3], "digits_covered": [0.5, 0.5], "energy_distance": [0.0301, 0.0341]}
    results = {
        "samples": {"made": dict.fromkeys(autoencoders.MADE, three), "vae_elbo": [-9, -11], "vae_log_prob": [-8, -8]},
        "bound": {"autoencoder": [[-3.0, -1.0, -2.0], [-3.0, -2.0, -4.0]]},
        "other_digits": {"like_a_digit": 0.92, "digits_covered": 0.89, "energy_distance": -7e-5},
    }
    rows = [row.split("|")[2:-1] for row in autoencoders.tables(results)["made"].splitlines()[2:]]
    assert len(rows) == 6
    assert [cell.strip() for cell in rows[0]] == ["25 ± 7 %", "50 ± 0 %", "0.032 ± 0.003"]
    assert [cell.strip() for cell in rows[-1]] == ["92 %", "89 %", "0.000"]
    bounds = [row.split("|")[2].strip() for row in autoencoders.tables(results)["bounds"].splitlines()[2:]]
    assert bounds == ["-10.0 ± 1.4", "-8.0 ± 0.0", "-3.0 ± 1.4", "-1.5 ± 0.7"]
    assert autoencoders.range_of([9, 11, 10]) == "9-11" and autoencoders.range_of([0, 0]) == "0"


def test_a_gaussian_like_some_samples_has_their_mean_and_covariance():
    samples = torch.randn(50, 3, generator=seeded(0)) @ torch.tensor(
        [[1.0, 0.5, 0.0], [0.0, 2.0, 0.0], [0.3, 0.0, 0.1]]
    )
    made = autoencoders._like(samples, torch.randn(200_000, 3, generator=seeded(1)))
    torch.testing.assert_close(made.mean(0), samples.mean(0), rtol=0, atol=0.03)
    torch.testing.assert_close(torch.cov(made.T), torch.cov(samples.T), rtol=0, atol=0.07)


def test_the_command_writes_everything_or_nothing(tmp_path, capsys, monkeypatch):
    options = ["--steps", "3", "--latent", "2", "--width", "8", "--seeds", "2"]
    folder, again = tmp_path / "one", tmp_path / "again"
    monkeypatch.setattr(autoencoders, "DRAWS", 50)
    assert autoencoders.main([*options, "--out", str(folder)]) == 0
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(files) == {"results.json", "pictures.npz", *(f"{name}.png" for name in autoencoders.DRAWINGS)}
    assert str(tmp_path) not in files["results.json"].decode()
    monkeypatch.setattr(autoencoders, "DRAWINGS", {"samples": autoencoders.draw_samples})
    assert autoencoders.main([*options, "--out", str(again)]) == 0
    assert all(path.read_bytes() == files[path.name] for path in again.iterdir())

    page = tmp_path / "page.md"
    page.write_text("<!-- table: made -->\n<!-- end of table -->\n", "utf-8")
    assert autoencoders.main([*options, "--out", str(again), "--page", str(page)]) == 0
    results, shown = autoencoders.load(folder)
    assert autoencoders.tables(results)["made"] in page.read_text("utf-8")
    assert len(set(results["samples"]["vae_elbo"])) == 2  # of two seeds
    alone = tmp_path / "alone"
    assert autoencoders.main([*options, "--seeds", "1", "--seed", "1", "--out", str(alone)]) == 0
    second = autoencoders.load(alone)[0]
    assert second["samples"]["vae_elbo"] == results["samples"]["vae_elbo"][1:]
    assert second["collapse"]["nats"] == results["collapse"]["nats"][1:]
    assert results == json.loads(files["results.json"])
    assert {name: part.shape for name, part in shown.items()} == {
        "samples": (6, 10, 8, 8),
        "plane_autoencoder": (12, 12, 8, 8),
        "plane_vae": (12, 12, 8, 8),
    }
    with pytest.raises(KeyError):
        autoencoders.save({}, {}, tmp_path / "broken")
    assert list((tmp_path / "broken").glob("*")) == []

    for bad, word in (
        (["--steps", "0"], "steps"),
        (["--lr", "nan"], "lr"),
        (["--seeds", "0"], "seeds"),
        (["--out", str(folder / "bound.png")], "out"),
    ):
        capsys.readouterr()
        assert autoencoders.main(["--out", str(tmp_path / "none"), *bad]) == 2
        assert capsys.readouterr().err.startswith(f"tinyddpm: {word} must")
    assert not (tmp_path / "none").exists()


def test_a_loss_that_is_lost_ends_the_training(pictures):
    with pytest.raises(FloatingPointError, match="step 2; try an lr below 1e"):
        autoencoders.fit(autoencoders.VAE(width=8), pictures, autoencoders.Config(steps=5, lr=1e30))


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["latent", "at least 1"], lambda: autoencoders.AutoEncoder(latent=0)),
        (["width", "at least 1"], lambda: autoencoders.VAE(width=0)),
        (["var", "above 0", "-1"], lambda: autoencoders.VAE(var=-1)),
        (["var", "above 0", "0"], lambda: autoencoders.VAE(var=0)),
        (["var", "above 0", "nan"], lambda: autoencoders.VAE(var=math.nan)),
    ],
)
def test_networks_that_cannot_be_are_refused_by_name(words, call):
    with refused(words):
        call()
