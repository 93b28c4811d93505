"""Reference values of pruning methods on two small layers, for crates/taper-experiment/src/spec/checks/reference.rs.

    pip install numpy
    python make.py            # writes methods.json beside this file

Each function implements one method from its paper, independently of taper's code. The loss is linear: the gradient
with respect to each effective (pruned) weight is given for each step. Weights, gradients, learning rate and momentum
are sums of few powers of two. Every value is then exact in f32, in any order of operations; `exact` checks this.
Roots, exponentials and quotients have no exact value: methods with these state a tolerance between f32 and the f64
values here. It is relative to the largest value of the layer, because a difference of a weight and a threshold has the
absolute error of its terms. Random numbers follow taper's documented generator (splitmix64): otherwise the choices
would differ.
"""

import json
import math
from pathlib import Path

import numpy as np

RATE, MOMENTUM = 0.25, 0.5
TRAIN = ["train.lr=0.25", "train.momentum=0.5", "train.weight_decay=0", "seed=7"]
SEED = 7


def exact(values):
    """The values as a list; fails if one is not exact in f32."""
    values = np.asarray(values, dtype=np.float64)
    assert np.array_equal(values.astype(np.float32).astype(np.float64), values), values
    return values.tolist()


def numbers(n, unit, seed):
    """n multiples of `unit` in random order, of both signs and with different magnitudes."""
    draw = np.random.default_rng(seed)
    return (draw.permutation(n) + 1) * draw.choice([-1.0, 1.0], n) * unit


# Taper's random numbers.


def splitmix(state):
    """The next state and 64 bits."""
    mask = (1 << 64) - 1
    state = (state + 0x9E3779B97F4A7C15) & mask
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return state, z ^ (z >> 31)


def random_scores(step, layer, n):
    """Numbers of 24 bits in [0, 1) for the key (seed, step, layer), one for each weight."""
    state = 0x7461706572000000 ^ 3
    for part in (SEED, step, layer):
        state, bits = splitmix(state)
        state = bits ^ part
    _, state = splitmix(state)
    scores = []
    for _ in range(n):
        state, bits = splitmix(state)
        scores.append((bits >> 40) / (1 << 24))
    return np.array(scores)


# Helpers of several methods.


def best(scores, among, n):
    """The n indices of `among` with the largest magnitudes. Ties go to the lower index."""
    return set(sorted(sorted(among), key=lambda i: -abs(scores[i]))[:n])


def round_half_up(x):
    return math.floor(x + 0.5)


def erk(shapes, n_keep):
    """Number of weights that each layer keeps: proportional to the sum of its dimensions, at most all of them."""
    sizes = [math.prod(shape) for shape in shapes]
    full = set()
    while True:
        left = n_keep - sum(sizes[i] for i in full)
        sums = {i: sum(shape) for i, shape in enumerate(shapes) if i not in full}
        shares = {i: left * s / sum(sums.values()) for i, s in sums.items()}
        over = {i for i, share in shares.items() if share > sizes[i]}
        if not over:
            break
        full |= over
    counts = [sizes[i] if i in full else round_half_up(shares[i]) for i in range(len(shapes))]
    assert sum(counts) == n_keep, "choose a sparsity at which the rounded counts add up"
    return counts


def cosine(share, step, end):
    return share / 2 * (1 + math.cos(math.pi * step / end))


def cubic(first, last, step, end):
    return last if step >= end else first + (last - first) * (1 - (1 - step / end) ** 3)


class Layers:
    """Weights under SGD with momentum."""

    def __init__(self, shapes, unit=1 / 64, slopes=1 / 8):
        self.shapes = shapes
        self.sizes = [math.prod(shape) for shape in shapes]
        total = sum(self.sizes)
        every = numbers(total, unit, 11)
        self.w = [w.copy() for w in np.split(every, np.cumsum(self.sizes)[:-1])]
        self.v = [np.zeros(n) for n in self.sizes]
        self.slopes_unit = slopes
        self.first = [exact(w) for w in self.w]
        self.slopes, self.steps = [], []

    def gradients(self, step):
        """The gradient of the loss w.r.t. each effective (pruned) weight."""
        every = numbers(sum(self.sizes), self.slopes_unit, 100 + step)
        split = np.split(every, np.cumsum(self.sizes)[:-1])
        self.slopes.append([exact(g) for g in split])
        return split

    def sgd(self, gradients):
        for i, g in enumerate(gradients):
            self.v[i] = MOMENTUM * self.v[i] + g
            self.w[i] = self.w[i] - RATE * self.v[i]

    def forget(self, layer, indices):
        self.v[layer][list(indices)] = 0

    def zero(self, kept):
        """Sets pruned weights and their velocities to 0."""
        for i, mask in enumerate(kept):
            pruned = [j for j in range(self.sizes[i]) if j not in mask]
            self.w[i][pruned] = 0
            self.v[i][pruned] = 0

    def note(self, kept, skipped=False, values=None, cuts=None):
        """Records the end of a step: optionally the values of kept weights in it, and the thresholds of the layers."""
        self.steps.append({
            "kept": [sorted(int(j) for j in mask) for mask in kept],
            "weights": [w.tolist() for w in self.w],
            "velocity": [v.tolist() for v in self.v],
            "skipped": skipped,
        })
        if values is not None:
            self.steps[-1]["values"] = [np.asarray(v).tolist() for v in values]
        if cuts is not None:
            self.steps[-1]["cuts"] = [float(cut) for cut in cuts]

    def case(self, name, total, sets, names=("a", "b"), within=0, values_within=0):
        """One entry of methods.json. `within` is the tolerance of weights and velocities, relative to the largest of the
        layer; `values_within` is that of values and thresholds."""
        if within == 0:
            for step in self.steps:
                for numbers_of in step["weights"] + step["velocity"]:
                    exact(numbers_of)
        layers = [
            {"name": n, "shape": list(s), "weights": w}
            for n, s, w in zip(names, self.shapes, self.first)
        ]
        sets = [f"prune.method={name}"] + sets + TRAIN
        case = {"name": name, "sets": sets, "total": total, "layers": layers, "slopes": self.slopes, "steps": self.steps}
        return case | {"within": within, "values_within": values_within}


def only(gradient, mask):
    kept = np.zeros(len(gradient))
    kept[list(mask)] = 1
    return gradient * kept


# The methods.


def gmp():
    """Zhu and Gupta: s(t) = s_f + (s_i - s_f)(1 - t/n)^3, new masks every two steps, no gradient for pruned weights."""
    net, total, target = Layers([(4, 5), (3, 4)]), 8, 0.75
    kept = [set(range(n)) for n in net.sizes]
    for step in range(total):
        if step % 2 == 0:
            n_keep = round_half_up((1 - cubic(0.0, target, step, total // 2)) * sum(net.sizes))
            every = np.concatenate(net.w)
            chosen = best(every, range(len(every)), n_keep)
            kept = [{j for j in range(20) if j in chosen}, {j - 20 for j in chosen if j >= 20}]
        g = net.gradients(step)
        net.sgd([only(g[i], kept[i]) for i in range(2)])
        net.note(kept)
    return net.case("gmp", total, [f"prune.sparsity={target}", "prune.refresh_every=2"])


SPARSE = 19 / 36  # of 36 weights, ERK keeps 10 of 4x6 and 7 of 3x4


def begin_at_random(net, sparsity=SPARSE):
    counts = erk(net.shapes, round_half_up((1 - sparsity) * sum(net.sizes)))
    kept = []
    for i, n in enumerate(net.sizes):
        kept.append(best(random_scores(0, i, n), range(n), counts[i]))
    net.zero(kept)
    return kept


def random():
    """A random mask; pruned weights are 0."""
    net, total = Layers([(4, 6), (3, 4)]), 4
    kept = begin_at_random(net)
    for step in range(total):
        g = net.gradients(step)
        net.sgd([only(g[i], kept[i]) for i in range(2)])
        net.note(kept)
    return net.case("random", total, [f"prune.sparsity={SPARSE}"])


def swapped(net, kept, share, drop, grow):
    """Prune-and-regrow: a fraction of each layer's kept weights leaves by `drop`, and as many enter by `grow`. New
    weights start with value and velocity 0."""
    after = []
    for i, mask in enumerate(kept):
        n = math.floor(share * len(mask))
        retained = drop(i, mask, len(mask) - n)
        entering = best(grow(i), set(range(net.sizes[i])) - retained, n)
        after.append(retained | entering)
    for i, mask in enumerate(after):
        new = mask - kept[i]
        net.w[i][list(new)] = 0
        net.forget(i, new)
    net.zero(after)
    return after


def set_():
    """Mocanu et al.: every two steps, prunes the fraction zeta of the positive and of the negative weights: those nearest
    to 0."""
    net, total, zeta = Layers([(4, 6), (3, 4)]), 8, 0.3
    kept = begin_at_random(net)

    def drop(i, mask, n):
        # The rank of a weight among those of its sign, relative to their number.
        rank = {}
        for sign in (1, -1):
            of_sign = [j for j in mask if net.w[i][j] * sign > 0]
            of_sign.sort(key=lambda j: (-abs(net.w[i][j]), j))
            for place, j in enumerate(of_sign):
                rank[j] = np.float32((len(of_sign) - place) / len(of_sign))
        ranks = np.array([rank.get(j, 0) for j in range(net.sizes[i])])
        return best(ranks, mask, n)

    for step in range(total):
        g = net.gradients(step)
        if step > 0 and step % 2 == 0:
            grow = lambda i: random_scores(step, i, net.sizes[i])
            before = kept
            g = [only(g[i], kept[i]) for i in range(2)]
            kept = swapped(net, kept, zeta, drop, grow)
            # Pruned weights do not move, and new weights have no gradient in this step.
            net.sgd([only(g[i], kept[i] & before[i]) for i in range(2)])
        else:
            net.sgd([only(g[i], kept[i]) for i in range(2)])
        net.note(kept)
    return net.case("set", total, [f"prune.sparsity={SPARSE}", "prune.refresh_every=2"])


def by_magnitude(net):
    return lambda i, mask, n: best(net.w[i], mask, n)


def train_and_swap(net, total, end, kept, swap):
    """Trains kept weights, except in every second step from step 2 until before `end`: such a step calls `swap` with its
    gradients and moves no weight."""
    for step in range(total):
        g = net.gradients(step)
        skipped = 0 < step < end and step % 2 == 0
        if skipped:
            kept = swap(step, g, kept)
        else:
            net.sgd([only(g[i], kept[i]) for i in range(2)])
        net.note(kept, skipped)


def rigl():
    """Evci et al.: prune by magnitude, regrow by the dense gradient, in a step that moves no weight."""
    net, total, alpha = Layers([(4, 6), (3, 4)]), 8, 0.6
    end = math.floor(0.75 * total)
    kept = begin_at_random(net)
    swap = lambda step, g, kept: swapped(net, kept, cosine(alpha, step, end), by_magnitude(net), lambda i: g[i])
    train_and_swap(net, total, end, kept, swap)
    return net.case("rigl", total, [f"prune.sparsity={SPARSE}", "prune.refresh_every=2", f"prune.swap_share={alpha}"])


def granet():
    """Liu et al.: starts from a random half with ERK's counts. One threshold over all layers follows a cubic schedule; a
    fraction of each layer is then pruned and regrown by gradient."""
    net, total, share, target = Layers([(4, 6), (3, 4)]), 16, 0.5, 0.75
    # Smaller weights in one layer: they change the counts of a global threshold, but not those of ERK.
    net.w[1] = net.w[1] / 4
    net.first = [exact(w) for w in net.w]
    ramp_end = math.floor(0.6875 * total)
    kept, imposed = begin_at_random(net, 0.5), 0.5
    for step in range(total):
        wanted = cubic(0.5, target, step, ramp_end)
        arrives = wanted == target and imposed != target
        if wanted != imposed and (step % 3 == 0 or arrives):
            n_keep = round_half_up((1 - wanted) * sum(net.sizes))
            chosen = best(np.concatenate(net.w), range(36), n_keep)
            before, kept = kept, [{j for j in chosen if j < 24}, {j - 24 for j in chosen if j >= 24}]
            for i in range(2):
                net.forget(i, kept[i] - before[i])
            net.zero(kept)
            imposed = wanted
        g = net.gradients(step)
        # No regrowth in the last step: new weights would never be trained.
        skipped = 0 < step < total - 1 and step % 3 == 0
        if skipped:
            kept = swapped(net, kept, cosine(share, step, total), by_magnitude(net), lambda i: g[i])
        else:
            net.sgd([only(g[i], kept[i]) for i in range(2)])
        net.note(kept, skipped)
    return net.case("granet", total, [f"prune.sparsity={target}", "prune.refresh_every=3"])


def by_magnitude_and_gradient(net, g, lam):
    return lambda i, mask, n: best(np.abs(net.w[i]) + lam * np.abs(g[i]), mask, n)


def halved(share, step, total):
    """The fraction of weights that MEST replaces: halved after 90 of 160 epochs."""
    return share / 2 if step >= math.floor(90 / 160 * total) else share


MEST = ["prune.refresh_every=2", "prune.swap_share=0.6", 'prune.criterion="mest:0.25"']


def mest():
    """Yuan et al., elastic mutation: prunes the weights of the smallest |w| + lambda |g|, and regrows at random."""
    net, total, share, lam = Layers([(4, 6), (3, 4)]), 8, 0.6, 0.25
    end = math.floor(0.75 * total)
    kept = begin_at_random(net)

    def swap(step, g, kept):
        drop = by_magnitude_and_gradient(net, g, lam)
        grow = lambda i: random_scores(step, i, net.sizes[i])
        return swapped(net, kept, halved(share, step, total), drop, grow)

    train_and_swap(net, total, end, kept, swap)
    return net.case("mest", total, [f"prune.sparsity={SPARSE}"] + MEST)


def mest_soft():
    """Yuan et al., soft memory bound: regrows random weights on top of the budget, and prunes as many in the next
    update."""
    net, total, share, lam = Layers([(4, 6), (3, 4)]), 12, 0.6, 0.25
    end = math.floor(0.75 * total)
    kept = begin_at_random(net)
    budget = [len(mask) for mask in kept]
    for step in range(total):
        g = net.gradients(step)
        skipped = 0 < step <= end and (step % 2 == 0 or step == end)
        if skipped:
            before, kept = kept, []
            for i, mask in enumerate(before):
                retained = by_magnitude_and_gradient(net, g, lam)(i, mask, budget[i])
                n = math.floor(halved(share, step, total) * budget[i]) if step < end else 0
                scores = random_scores(step, i, net.sizes[i])
                kept.append(retained | best(scores, set(range(net.sizes[i])) - retained, n))
                new = list(kept[i] - mask)
                net.w[i][new], net.v[i][new] = 0, 0
            net.zero(kept)
        else:
            net.sgd([only(g[i], kept[i]) for i in range(2)])
        net.note(kept, skipped)
    case = net.case("mest", total, [f"prune.sparsity={SPARSE}", "prune.swap_bound=soft"] + MEST)
    return {**case, "name": "mest, soft bound"}


def rigl_begun():
    """RigL's code with grow_init = grad_scale_2 and rigl_acc_scale = 0.25: new weights start at half of their gradient, and
    their momentum at a quarter of it."""
    net, total, alpha = Layers([(4, 6), (3, 4)]), 8, 0.6
    end = math.floor(0.75 * total)
    kept = begin_at_random(net)

    def swap(step, g, before):
        kept = swapped(net, before, cosine(alpha, step, end), by_magnitude(net), lambda i: g[i])
        for i in range(2):
            new = list(kept[i] - before[i])
            net.w[i][new], net.v[i][new] = g[i][new] / 2, g[i][new] / 4
        return kept

    train_and_swap(net, total, end, kept, swap)
    begin = ['prune.grow_init="gradient:2"', "prune.grow_momentum=0.25"]
    sets = [f"prune.sparsity={SPARSE}", "prune.refresh_every=2", f"prune.swap_share={alpha}"]
    return {**net.case("rigl", total, sets + begin), "name": "rigl, begun"}


def rigl_along_rate():
    """RigL's code for TensorFlow 2 with schedule_alg = lr: the replaced fraction is proportional to the learning rate."""
    net, total, alpha = Layers([(4, 6), (3, 4)]), 10, 0.6
    end = math.floor(0.75 * total)
    kept = begin_at_random(net)

    def swap(step, g, kept):
        # The experiment halves its learning rate after half of the run; the rate that moves weights here is constant.
        share = alpha * (0.5 if step >= total // 2 else 1)
        return swapped(net, kept, share, by_magnitude(net), lambda i: g[i])

    train_and_swap(net, total, end, kept, swap)
    sets = [f"prune.sparsity={SPARSE}", "prune.refresh_every=2", f"prune.swap_share={alpha}", "prune.swap_decay=learning-rate"]
    sets += ['train.schedule="step:0.5"', "train.milestones=[0.5]"]
    return {**net.case("rigl", total, sets), "name": "rigl, learning rate"}


def static():
    """RigL's code with the method static: the smallest weights are reset to 0, and the mask stays."""
    net, total, alpha = Layers([(4, 6), (3, 4)]), 8, 0.6
    end = math.floor(0.75 * total)
    kept = begin_at_random(net)
    for step in range(total):
        g = net.gradients(step)
        moving = kept
        if 0 < step < end and step % 2 == 0:
            moving = []
            for i, mask in enumerate(kept):
                n = math.floor(cosine(alpha, step, end) * len(mask))
                moving.append(best(net.w[i], mask, len(mask) - n))
                anew = list(mask - moving[i])
                net.w[i][anew], net.v[i][anew] = 0, 0
        net.sgd([only(g[i], moving[i]) for i in range(2)])
        net.note(kept)
    sets = [f"prune.sparsity={SPARSE}", "prune.refresh_every=2", f"prune.swap_share={alpha}", "prune.grow=same"]
    return {**net.case("rigl", total, sets), "name": "static"}


def snip():
    """Lee et al.: keeps the largest |w g| on the first batch, a step that moves no weight; then the mask stays."""
    net, total = Layers([(4, 6), (3, 4)]), 4
    for step in range(total):
        g = net.gradients(step)
        if step == 0:
            every = np.concatenate([net.w[i] * g[i] for i in range(2)])
            chosen = best(every, range(36), 9)
            kept = [{j for j in chosen if j < 24}, {j - 24 for j in chosen if j >= 24}]
            net.zero(kept)
        else:
            net.sgd([only(g[i], kept[i]) for i in range(2)])
        net.note(kept, step == 0)
    return net.case("snip", total, ["prune.sparsity=0.75"])


def sr_ste():
    """Zhou et al., equation 9: two of four weights along the inputs, chosen in each step; the dense weights receive the
    gradient + lambda (1 - m) w."""
    net, total, lam = Layers([(1, 2), (3, 8)], unit=1 / 16), 4, 0.125
    for step in range(total):
        kept = [{0, 1}, set()]
        for group in range(0, 24, 4):
            kept[1] |= best(net.w[1], range(group, group + 4), 2)
        g = net.gradients(step)
        g[1] = g[1] + lam * (net.w[1] - only(net.w[1], kept[1]))
        net.sgd(g)
        net.note(kept)
    sets = [f'prune.remainder="decay:{lam}"', 'prune.pins={ "conv1.weight" = 0 }']
    return net.case("sr-ste", total, sets, ("conv1", "linear"))


def top_kast():
    """Jayakumar et al.: forward set A of density D, backward set B of density 2D; penalty lambda w on A, lambda/D w on B
    without A."""
    net, total, lam, density = Layers([(4, 6), (4, 4)], unit=1 / 16, slopes=1 / 4), 3, 0.125, 0.25
    for step in range(total):
        kept = [best(w, range(len(w)), int(density * len(w))) for w in net.w]
        learn = [best(w, range(len(w)), 2 * int(density * len(w))) for w in net.w]
        g = net.gradients(step)
        moved = []
        for i, w in enumerate(net.w):
            penalty = lam * only(w, kept[i]) + lam / density * only(w, learn[i] - kept[i])
            moved.append(only(g[i], learn[i]) + penalty)
        net.sgd(moved)
        net.note(kept)
    return net.case("top-kast", total, [f"prune.sparsity={1 - density}", "prune.allocation=uniform", f'prune.remainder="penalty:{lam}"'])


def ac_dc():
    """Peste et al., CIFAR-100: a dense phase, then alternating sparse and dense phases, and a sparse phase at the end.
    Each dense phase resets the momentum."""
    net, total, target = Layers([(2, 4), (3, 4)]), 20, 0.75
    phases = [(0, "dense")] + [(t, "sparse" if t % 4 == 1 else "dense") for t in range(1, 18, 2)]
    starts = dict(phases)
    kept = [set(range(n)) for n in net.sizes]
    for step in range(total):
        if starts.get(step) == "sparse":
            kept = split(best(np.concatenate(net.w), range(sum(net.sizes)), 5), net.sizes)
            net.zero(kept)
        elif step > 0 and starts.get(step) == "dense":
            kept = [set(range(n)) for n in net.sizes]
            for i, n in enumerate(net.sizes):
                net.forget(i, range(n))
        g = net.gradients(step)
        net.sgd([only(g[i], kept[i]) for i in range(2)])
        net.note(kept)
    return net.case("ac-dc", total, [f"prune.sparsity={target}"])


def filters():
    """Li et al.: prunes the filters with the smallest sums of magnitudes, the same fraction in each convolution. The linear
    layer stays dense."""
    shapes, total, target = [(7, 3, 1, 1), (5, 2, 1, 3), (1, 2)], 8, 0.484375
    net = Layers(shapes)
    kept = [set(range(n)) for n in net.sizes]
    for step in range(total):
        n_keep = round_half_up((1 - cubic(0.0, target, step, 6)) * sum(net.sizes))
        density = (n_keep - net.sizes[2]) / (net.sizes[0] + net.sizes[1])
        for i, (n_filters, *rest) in enumerate(shapes[:2]):
            size = math.prod(rest)
            share = density * n_filters
            if step % 2 == 0:
                # Rounding a count by one weight must not change the number of filters.
                assert share == int(share) or 1 / size < share % 1 < 1 - 1 / size, share
                sums = np.abs(net.w[i]).reshape(n_filters, size).sum(axis=1)
                stay = best(sums, range(n_filters), math.floor(share))
                kept[i] = {f * size + j for f in stay for j in range(size)}
        g = net.gradients(step)
        net.sgd(only_all(g, kept))
        net.note(kept)
    sets = [f"prune.sparsity={target}", "prune.refresh_every=2", "prune.end=0.75", 'prune.pins={ "linear.weight" = 0 }']
    return net.case("filter", total, sets, ("conv1", "conv2", "linear"))


# Methods with an operator on kept weights.


def split(indices, sizes):
    """Indices into the weights of all layers, layer by layer."""
    firsts = np.cumsum([0] + sizes)
    return [{j - firsts[i] for j in indices if firsts[i] <= j < firsts[i + 1]} for i in range(len(sizes))]


def above(net, cuts):
    """Indices that each layer keeps: weights above its threshold. A threshold of 0 keeps all, including weights of 0."""
    return [{j for j in range(n) if cut == 0 or abs(w[j]) > cut} for n, w, cut in zip(net.sizes, net.w, cuts)]


def only_all(values, kept):
    return [only(v, mask) for v, mask in zip(values, kept)]


def ste():
    """Keeps the largest weights of all layers in each step; all weights receive the gradient unchanged."""
    net, total, target = Layers([(4, 5), (3, 4)]), 8, 0.75
    for step in range(total):
        n_keep = round_half_up((1 - cubic(0.0, target, step, total // 2)) * sum(net.sizes))
        kept = split(best(np.concatenate(net.w), range(sum(net.sizes)), n_keep), net.sizes)
        values = only_all(net.w, kept)
        net.sgd(net.gradients(step))
        net.note(kept, values=values)
    return net.case("ste", total, [f"prune.sparsity={target}"])


def feather(target):
    """Glentis Georgoulakis et al.: sign(w) (|w|^3 - T^3)^(1/3) above the quantile T; pruned weights receive theta times
    the gradient."""
    net, total = Layers([(3, 3), (4, 6)]), 8
    theta = 0.5 if target > 0.95 else 1.0
    for step in range(total):
        sparsity = cubic(0.0, target, step, total // 2)
        cut = 0.0 if sparsity == 0 else np.quantile(np.abs(np.concatenate(net.w)), sparsity)
        exact(cut)
        kept = above(net, [cut] * 2)
        values = [np.sign(w) * np.cbrt(np.maximum(np.abs(w) ** 3 - cut**3, 0)) for w in net.w]
        g = net.gradients(step)
        net.sgd([only(g[i], kept[i]) + theta * (g[i] - only(g[i], kept[i])) for i in range(2)])
        net.note(kept, values=values, cuts=[cut] * 2)
    sets = [f"prune.sparsity={target}", "prune.quantile=interpolated"]
    # The cube root in f32, and the difference under the root: a few roundings.
    return net.case("feather", total, sets, values_within=1e-6)


def st_3(sigma):
    """Vanderschueren and De Vleeschouwer: soft threshold; each channel is scaled up to make up for its lost magnitude; the
    gradient is unchanged. The threshold is a quantile of |w|, or with sigma of |w| / (1/sqrt(sum of the layer's shape))."""
    net, total, target = Layers([(1, 9), (2, 4)]), 8, 0.75
    unit = [1 / math.sqrt(sum(shape)) if sigma else 1.0 for shape in net.shapes]
    for step in range(total):
        sparsity = 0.0 if step < 2 else cubic(0.0, target, step - 2, 4)
        relative = np.concatenate([np.abs(w) / u for w, u in zip(net.w, unit)])
        cuts = [0.0] * 2 if sparsity == 0 else [np.quantile(relative, sparsity) * u for u in unit]
        kept, values = above(net, cuts), []
        for w, mask, cut, shape in zip(net.w, kept, cuts, net.shapes):
            channels, rows = np.abs(only(w, mask)).reshape(shape), np.abs(w).reshape(shape)
            r = (channels.mean(axis=1) + 1e-6) / (rows.mean(axis=1) + 1e-6)
            scale = np.repeat(1.01 / (r + 0.01), shape[1]) if cut > 0 else 1.0
            values.append(scale * np.sign(w) * np.maximum(np.abs(w) - cut, 0))
        net.sgd(net.gradients(step))
        net.note(kept, values=values, cuts=cuts)
    name = "st-3-sigma" if sigma else "st-3"
    sets = [f"prune.sparsity={target}", "prune.quantile=interpolated", "prune.begin=0.25", "prune.end=0.75"]
    # Rounding of a difference; with sigma, the threshold is rounded twice, too.
    return net.case(name, total, sets, values_within=1e-6)


def str_():
    """Kusupati et al.: soft threshold sigma(s) for each layer. The gradient of s is -sum g sign(w) sigma'(s) over kept
    weights, plus weight decay."""
    net, total, begin, decay = Layers([(3, 3), (2, 4)], unit=1 / 32, slopes=1 / 32), 6, -1.5, 0.125
    s, speed = np.full(2, begin), np.zeros(2)
    for step in range(total):
        cuts = 1 / (1 + np.exp(-s))
        kept = above(net, cuts)
        values = [np.sign(w) * np.maximum(np.abs(w) - cut, 0) for w, cut in zip(net.w, cuts)]
        g = only_all(net.gradients(step), kept)
        slope = [-np.sum(g[i] * np.sign(net.w[i])) * cuts[i] * (1 - cuts[i]) for i in range(2)]
        speed = MOMENTUM * speed + slope + decay * s
        s = s - RATE * speed
        net.sgd(g)
        net.note(kept, values=values, cuts=cuts)
    sets = [f'prune.threshold="learned:{begin}:{decay}"']
    return net.case("str", total, sets, values_within=2e-6)


def soft_choice(magnitudes, sharpness, n_keep):
    """The m in (0, 1) that maximise the sum of m |w| + H(m) / beta and add up to n_keep: a logistic function of |w| with
    one common shift."""
    low, high = -1e3, 1e3
    while high - low > 1e-13 * max(1.0, abs(low)):
        middle = (low + high) / 2
        total = np.sum(1 / (1 + np.exp(-(sharpness * magnitudes + middle))))
        low, high = (middle, high) if total < n_keep else (low, middle)
    m = 1 / (1 + np.exp(-(sharpness * magnitudes + low)))
    assert abs(m.sum() - n_keep) < 1e-9
    return m


def spartan():
    """Tai et al.: the largest weights times their soft mask; all weights learn by the derivative of the soft mask. At 80 %
    of the run the mask is frozen, and pruned weights have no gradient from then on."""
    net, total, target = Layers([(3, 4), (3, 4)], unit=1 / 32, slopes=1 / 512), 10, 0.75
    n, frozen = sum(net.sizes), None
    for step in range(total):
        sparsity = min(target * step / 2, target)
        n_keep = round_half_up((1 - sparsity) * n)
        w = np.concatenate(net.w)
        g = np.concatenate(net.gradients(step))
        if step == 8:
            kept_all = best(w, range(n), n_keep)
            frozen = only(soft_choice(np.abs(w), 20.0, n_keep), kept_all)
        if frozen is not None:
            values, moved = w * frozen, g * frozen
        elif sparsity == 0:
            kept_all, values, moved = set(range(n)), w, g
        else:
            sharpness = 1 + 19 * step / 8
            kept_all, m = best(w, range(n), n_keep), soft_choice(np.abs(w), sharpness, n_keep)
            # No weight is so close to the threshold or to 0 that rounding decides.
            order = np.sort(np.abs(w))
            assert order[n - n_keep] - order[n - n_keep - 1] > 1e-4 and order[0] > 1e-4
            u = m * (1 - m)
            jacobian = sharpness * (np.diag(u) - np.outer(u, u) / u.sum())
            moved = g * m + np.sign(w) * (jacobian.T @ (g * w))
            values = only(w * m, kept_all)
        net.sgd(np.split(moved, [net.sizes[0]]))
        net.note(split(kept_all, net.sizes), values=np.split(values, [net.sizes[0]]))
    # The shift meets the sum up to a millionth, and each mask value needs an exponential of up to 20 in f32.
    return net.case("spartan", total, [f"prune.sparsity={target}"], within=1e-5, values_within=1e-5)


def powerpropagation():
    """Schwarz et al.: w = v |v|; the gradient of v is 2 |v| times that of w. Masks as in gmp."""
    net, total, target = Layers([(4, 5), (3, 4)], slopes=1 / 128), 8, 0.75
    # The initial weights of the network are w; v is their signed square root.
    net.first = [exact(v * np.abs(v)) for v in net.w]
    kept = [set(range(n)) for n in net.sizes]
    for step in range(total):
        if step % 2 == 0:
            n_keep = round_half_up((1 - cubic(0.0, target, step, total // 2)) * sum(net.sizes))
            kept = split(best(np.concatenate(net.w), range(sum(net.sizes)), n_keep), net.sizes)
        values = only_all([v * np.abs(v) for v in net.w], kept)
        g = net.gradients(step)
        net.sgd([2 * np.abs(net.w[i]) * only(g[i], kept[i]) for i in range(2)])
        net.note(kept, values=values)
    sets = [f"prune.sparsity={target}", "prune.refresh_every=2"]
    # Four roundings in each of eight steps.
    return net.case("powerpropagation", total, sets, within=2e-6, values_within=4e-6)


if __name__ == "__main__":
    cases = [gmp(), random(), set_(), rigl(), granet(), mest(), snip(), sr_ste(), top_kast()]
    cases += [ac_dc(), filters(), ste(), feather(0.75), feather(0.96875), st_3(sigma=False), st_3(sigma=True)]
    cases += [str_(), spartan(), powerpropagation()]
    cases += [mest_soft(), rigl_begun(), rigl_along_rate(), static()]
    text = json.dumps(cases, separators=(",", ":")).replace('{"name"', '\n{"name"').replace('{"kept"', '\n{"kept"')
    Path(__file__).with_name("methods.json").write_text(text + "\n")
