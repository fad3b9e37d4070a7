import numpy as np

from radray.audit.batches import draw_controls, entropy, teaching_order


def test_controls_are_some_of_the_unsuspected_and_the_same_for_the_same_seed():
    unsuspected = np.arange(100, 200)
    drawn = draw_controls(unsuspected, 30, 1)
    assert len(set(drawn.tolist())) == 30 and set(drawn.tolist()) <= set(unsuspected.tolist())
    assert np.array_equal(drawn, draw_controls(unsuspected, 30, 1))
    assert not np.array_equal(drawn, draw_controls(unsuspected, 30, 2))
    assert len(draw_controls(unsuspected, 500, 1)) == 100


def test_every_unsuspected_label_is_drawn_as_often():
    counts = np.bincount(np.concatenate([draw_controls(np.arange(20), 5, seed) for seed in range(2000)]))
    assert abs(counts / 2000 - 0.25).max() < 0.05


def test_a_batch_to_learn_from_is_doubtful_and_spread_out():
    rng = np.random.default_rng(0)
    centres = np.eye(8)
    places = np.repeat(np.arange(8), 50)
    points = centres[places] + 0.05 * rng.normal(size=(400, 8))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    doubt = rng.random(400)
    doubt[places == 7] = 0
    chosen = teaching_order(points, doubt, 7)
    assert sorted(places[chosen].tolist()) == list(range(7)), "one of each group, none without doubt"
    assert chosen[0] == doubt.argmax()
    assert len(teaching_order(points, np.zeros(400), 7)) == 0


def test_entropy_of_a_sure_row_is_nothing_and_of_an_even_one_most():
    assert np.allclose(entropy(np.array([[1.0, 0, 0], [1 / 3] * 3])), [0, np.log(3)])
