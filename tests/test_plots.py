"""What is looked at: grids of samples, the way back from noise."""

import io

import numpy as np
import pytest
from PIL import Image

from tinyddpm.runs import plots

pytestmark = pytest.mark.usefixtures("one_thread")


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def test_pictures_with_transparency_are_shown_without(tmp_path):
    pixels_of = np.random.default_rng(0).uniform(-1, 1, (2, 4, 8, 8)).astype(np.float32)
    assert plots.grid(pixels_of) == plots.grid(pixels_of[:, :3])


def test_the_grid_shows_every_sample_in_its_place():
    samples = np.linspace(-1, 1, 5).reshape(5, 1, 1, 1) * np.ones((5, 1, 4, 6))
    picture = pixels(plots.grid(samples))[..., 0]
    assert picture.shape == (2 * (4 * 12 + 2), 3 * (6 * 12 + 2))
    shades = picture.reshape(2, 50, 3, 74)[:, 10, :, 10].ravel()
    np.testing.assert_allclose(shades, 255 * np.array([0, 0.25, 0.5, 0.75, 1, 1]), atol=1)


def test_the_way_shows_the_first_and_the_last_state_of_every_sample():
    states = [np.stack([np.full((1, 4, 4), level), np.full((1, 4, 4), -level)]) for level in np.linspace(-1, 1, 9)]
    with pytest.raises(ValueError, match="states must be at most 9, got 10"):
        plots.way(states, 10)
    picture = pixels(plots.way(states, 3))[..., 0]
    assert picture.shape == (2 * 50, 3 * 50)
    shades = picture.reshape(2, 50, 3, 50)[:, 10, :, 10]
    np.testing.assert_allclose(shades, [[0, 127.5, 255], [255, 127.5, 0]], atol=1)


@pytest.mark.parametrize("dims", [1, 2])
def test_points_are_shown_where_they_lie(dims):
    left, right = (pixels(plots.grid(np.full((50, dims), at))) for at in (-1.5, 1.5))
    assert left.shape == right.shape and (left != right).any()
    marked = [np.nonzero((image != 255).any(-1)[40:360])[1].mean() for image in (left, right)]
    assert marked[0] < marked[1]


def test_the_gif_has_every_state():
    film = Image.open(io.BytesIO(plots.gif(np.full((2, 1, 8, 8), level) for level in np.linspace(-1, 1, 7))))
    assert film.n_frames == 7
    film.seek(6)
    assert film.info["duration"] == 2000 and film.convert("L").getpixel((10, 10)) == 255
