"""Reference values of pruning methods on two layers of a few weights, for crates/taper-cli/src/spec/checks/reference.rs.

    pip install numpy
    python make.py            # writes methods.json beside this file

The methods are written down here from their papers, each in its own function, without a look at taper's code. The loss is linear:
the gradient in each pruned weight of a step is given. Weights, gradients, rate and momentum are sums of powers of two, so that
every value is exact in f32, whatever the order of operations; `exact` refuses a value that is not. What taper draws at random
follows its documented generator (splitmix64), as a random draw cannot be imitated otherwise.
"""

import json
import math
from pathlib import Path

import numpy as np

RATE, MOMENTUM = 0.25, 0.5
TRAIN = ["train.lr=0.25", "train.momentum=0.5", "train.weight_decay=0", "seed=7"]
SEED = 7


def exact(values):
    """The values as a list, each of which is an f32."""
    values = np.asarray(values, dtype=np.float64)
    assert np.array_equal(values.astype(np.float32).astype(np.float64), values), values
    return values.tolist()


def numbers(n, unit, seed):
    """n numbers without order and of different magnitudes, multiples of `unit` of both signs."""
    draw = np.random.default_rng(seed)
    return (draw.permutation(n) + 1) * draw.choice([-1.0, 1.0], n) * unit


# Random numbers of taper.


def splitmix(state):
    """The next state and 64 bits."""
    mask = (1 << 64) - 1
    state = (state + 0x9E3779B97F4A7C15) & mask
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return state, z ^ (z >> 31)


def random_scores(step, layer, n):
    """Numbers in [0, 1) of 24 bits, one for each weight, for the key (seed, step, layer)."""
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


# What the methods share.


def best(scores, among, n):
    """The n indices of `among` with the largest magnitudes; of equal ones, the lower index."""
    return set(sorted(sorted(among), key=lambda i: -abs(scores[i]))[:n])


def round_half_up(x):
    return math.floor(x + 0.5)


def erk(shapes, n_keep):
    """Weights that each layer keeps: in proportion to the sum of its dimensions, at most all of them."""
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
    assert sum(counts) == n_keep, "choose a sparsity at which the shares can be rounded one by one"
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
        """The gradient of the loss in each pruned weight."""
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
        """Pruned weights and their velocity become 0."""
        for i, mask in enumerate(kept):
            pruned = [j for j in range(self.sizes[i]) if j not in mask]
            self.w[i][pruned] = 0
            self.v[i][pruned] = 0

    def note(self, kept, skipped=False):
        self.steps.append({
            "kept": [sorted(int(j) for j in mask) for mask in kept],
            "weights": [exact(w) for w in self.w],
            "velocity": [exact(v) for v in self.v],
            "skipped": skipped,
        })

    def case(self, name, total, sets, names=("a", "b")):
        layers = [
            {"name": n, "shape": list(s), "weights": w}
            for n, s, w in zip(names, self.shapes, self.first)
        ]
        sets = [f"prune.method={name}"] + sets + TRAIN
        return {"name": name, "sets": sets, "total": total, "layers": layers, "slopes": self.slopes, "steps": self.steps}


def only(gradient, mask):
    kept = np.zeros(len(gradient))
    kept[list(mask)] = 1
    return gradient * kept


# The methods.


def gmp():
    """Zhu and Gupta: s(t) = s_f + (s_i - s_f)(1 - t/n)^3, masks every two steps, pruned weights without gradient."""
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
    """A random mask, and weights that are 0 outside of it."""
    net, total = Layers([(4, 6), (3, 4)]), 4
    kept = begin_at_random(net)
    for step in range(total):
        g = net.gradients(step)
        net.sgd([only(g[i], kept[i]) for i in range(2)])
        net.note(kept)
    return net.case("random", total, [f"prune.sparsity={SPARSE}"])


def swapped(net, kept, share, drop, grow):
    """Masks in which a share of each layer left by `drop` and as many entered by `grow`; new weights start at 0 and at rest."""
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
    """Mocanu et al.: every two steps, the share zeta of the smallest positive weights and of the largest negative ones leaves."""
    net, total, zeta = Layers([(4, 6), (3, 4)]), 8, 0.3
    kept = begin_at_random(net)

    def drop(i, mask, n):
        # The rank of a weight within its sign, as a share: the smallest of each sign leave together.
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
            # What has left does not move, and what has entered had no gradient.
            net.sgd([only(g[i], kept[i] & before[i]) for i in range(2)])
        else:
            net.sgd([only(g[i], kept[i]) for i in range(2)])
        net.note(kept)
    return net.case("set", total, [f"prune.sparsity={SPARSE}", "prune.refresh_every=2"])


def by_magnitude(net):
    return lambda i, mask, n: best(net.w[i], mask, n)


def rigl():
    """Evci et al.: drop by magnitude, grow by the gradient of all weights, in a step that moves no weight."""
    net, total, alpha = Layers([(4, 6), (3, 4)]), 8, 0.6
    end = math.floor(0.75 * total)
    kept = begin_at_random(net)
    for step in range(total):
        g = net.gradients(step)
        skipped = 0 < step < end and step % 2 == 0
        if skipped:
            kept = swapped(net, kept, cosine(alpha, step, end), by_magnitude(net), lambda i: g[i])
        else:
            net.sgd([only(g[i], kept[i]) for i in range(2)])
        net.note(kept, skipped)
    return net.case("rigl", total, [f"prune.sparsity={SPARSE}", "prune.refresh_every=2", f"prune.swap_share={alpha}"])


def granet():
    """Liu et al.: from a random half with ERK's counts, one cut of all layers along a cubic schedule, then a share of each layer
    is regrown by gradient."""
    net, total, share, target = Layers([(4, 6), (3, 4)]), 16, 0.5, 0.75
    # Smaller weights in a layer, which one cut of all layers sees and ERK does not.
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
        skipped = step > 0 and step % 3 == 0
        if skipped:
            kept = swapped(net, kept, cosine(share, step, total), by_magnitude(net), lambda i: g[i])
        else:
            net.sgd([only(g[i], kept[i]) for i in range(2)])
        net.note(kept, skipped)
    return net.case("granet", total, [f"prune.sparsity={target}", "prune.refresh_every=3"])


def by_magnitude_and_gradient(net, g, lam):
    return lambda i, mask, n: best(np.abs(net.w[i]) + lam * np.abs(g[i]), mask, n)


def halved(share, step, total):
    """The share of a swap in MEST, whose first phase takes 90 of 160 epochs."""
    return share / 2 if step >= math.floor(90 / 160 * total) else share


MEST = ["prune.refresh_every=2", "prune.swap_share=0.6", 'prune.criterion="mest:0.25"']


def mest():
    """Yuan et al., elastic mutation: the weights of the smallest |w| + lambda |g| leave, others enter at random."""
    net, total, share, lam = Layers([(4, 6), (3, 4)]), 8, 0.6, 0.25
    end = math.floor(0.75 * total)
    kept = begin_at_random(net)
    for step in range(total):
        g = net.gradients(step)
        skipped = 0 < step < end and step % 2 == 0
        if skipped:
            drop = by_magnitude_and_gradient(net, g, lam)
            grow = lambda i: random_scores(step, i, net.sizes[i])
            kept = swapped(net, kept, halved(share, step, total), drop, grow)
        else:
            net.sgd([only(g[i], kept[i]) for i in range(2)])
        net.note(kept, skipped)
    return net.case("mest", total, [f"prune.sparsity={SPARSE}"] + MEST)


def mest_soft():
    """Yuan et al., soft memory bound: weights enter at random on top of the budget, and as many leave in the next update."""
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
    """RigL's code with grow_init = grad_scale_2 and rigl_acc_scale = 0.25: new weights begin with half of their gradient, and a
    quarter of it is their momentum."""
    net, total, alpha = Layers([(4, 6), (3, 4)]), 8, 0.6
    end = math.floor(0.75 * total)
    kept = begin_at_random(net)
    for step in range(total):
        g = net.gradients(step)
        skipped = 0 < step < end and step % 2 == 0
        if skipped:
            before = kept
            kept = swapped(net, kept, cosine(alpha, step, end), by_magnitude(net), lambda i: g[i])
            for i in range(2):
                new = list(kept[i] - before[i])
                net.w[i][new], net.v[i][new] = g[i][new] / 2, g[i][new] / 4
        else:
            net.sgd([only(g[i], kept[i]) for i in range(2)])
        net.note(kept, skipped)
    begin = ['prune.grow_init="gradient:2"', "prune.grow_momentum=0.25"]
    sets = [f"prune.sparsity={SPARSE}", "prune.refresh_every=2", f"prune.swap_share={alpha}"]
    return {**net.case("rigl", total, sets + begin), "name": "rigl, begun"}


def rigl_along_rate():
    """RigL's code for TensorFlow 2 with schedule_alg = lr: the share of a swap is in proportion to the learning rate."""
    net, total, alpha = Layers([(4, 6), (3, 4)]), 10, 0.6
    end = math.floor(0.75 * total)
    kept = begin_at_random(net)
    for step in range(total):
        g = net.gradients(step)
        skipped = 0 < step < end and step % 2 == 0
        if skipped:
            # The rate of the experiment is halved at half of the run; the rate that moves weights here is not.
            share = alpha * (0.5 if step >= total // 2 else 1)
            kept = swapped(net, kept, share, by_magnitude(net), lambda i: g[i])
        else:
            net.sgd([only(g[i], kept[i]) for i in range(2)])
        net.note(kept, skipped)
    sets = [f"prune.sparsity={SPARSE}", "prune.refresh_every=2", f"prune.swap_share={alpha}", "prune.swap_decay=learning-rate"]
    sets += ['train.schedule="step:0.5"', "train.milestones=[0.5]"]
    return {**net.case("rigl", total, sets), "name": "rigl, learning rate"}


def static():
    """RigL's code with the method static: the smallest weights begin anew from 0, and the mask stays."""
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
    """Lee et al.: |w g| of all weights on the first batch, which moves nothing; then the mask stays."""
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
    """Zhou et al., equation 9: two of four along the inputs, in each step; gradient + lambda (1 - m) w for the dense weights."""
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
    """Jayakumar et al.: forward set A of density D, backward set B of twice as many; lambda w on A, lambda/D w on B without A."""
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


if __name__ == "__main__":
    cases = [gmp(), random(), set_(), rigl(), granet(), mest(), snip(), sr_ste(), top_kast()]
    cases += [mest_soft(), rigl_begun(), rigl_along_rate(), static()]
    text = json.dumps(cases, separators=(",", ":")).replace('{"name"', '\n{"name"').replace('{"kept"', '\n{"kept"')
    Path(__file__).with_name("methods.json").write_text(text + "\n")
