"""What is trained: for each method a head and its loss. Each gives named terms, the sum of which goes down."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from . import losses
from .heads import Head, half_half, sign
from .layers import Layer
from .sampling import ByLabel, BySimilarity, Relevance, codebook, draw_negatives, draw_rows, generator

Terms = dict[str, Tensor]

_CONSTANT = "balance and fence are met by one code for everything: lower alpha and beta, or set balance='bit'"


@dataclass(frozen=True, eq=False)
class Task:
    """What a learner is made for.

    Parameters
    ----------
    dim, n_bits : int
        Columns, and bits of a code.
    rows : int64 (n,)
        The rows to train on.
    read : callable
        Features (b, dim) of rows int64 (b,), on the device.
    labels : ByLabel or None
    seed : int
    whole : bool
        Whether other rows than those of the batch can be had at any time; not where they are images.
    """

    dim: int
    n_bits: int
    rows: Tensor
    read: Callable[[Tensor], Tensor]
    labels: ByLabel | None
    seed: int
    whole: bool = True

    def relevance(self, share: float) -> Relevance:
        """By label, or else by the top share of cosines."""
        return self.labels or BySimilarity(self.read, self.rows, share, self.seed)


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of one step.

    Parameters
    ----------
    x : float (b, dim)
        Features, on the device.
    rows : int64 (b,)
        Which rows they are.
    step : int
        Steps done before.
    draw : torch.Generator
        For whatever a step draws.
    other : float (b, dim), optional
        Features of a second view of the rows, where the learner compares `views` and images give them.
    """

    x: Tensor
    rows: Tensor
    step: int
    draw: torch.Generator
    other: Tensor | None = None


class Learner(nn.Module):  # type: ignore[misc]
    """A head and a loss; a subclass gives `terms`.

    Parameters
    ----------
    task : Task
    options : mapping
        Arguments of the hasher's constructor, by name.
    """

    stages = 1
    # Views of a row that a step compares, where rows are images.
    views = 1
    # What the sum of the terms can come down to without codes that are worth anything, and what helps.
    remedies: ClassVar[Mapping[str, str]] = {}

    def __init__(self, task: Task, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.task = task
        self.options = options
        self.head = self.make_head()
        self.body: nn.Module = nn.Identity()  # a backbone that is trained too takes this place

    def make_head(self) -> Head:
        """One linear layer, or those of `hidden`."""
        return Head(self.task.dim, self.task.n_bits, self.options["hidden"])

    @property
    def heads(self) -> Sequence[Head]:
        """What takes features as they come."""
        return [self.head]

    def begin(self, stage: int) -> None:
        """Prepare for a stage of the training, 0 first."""

    def terms(self, batch: Batch) -> Terms:
        """Weighted terms of the loss by name."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Terms:
        """`terms`."""
        return self.terms(batch)

    def margins(self, x: Tensor) -> Tensor:
        """Margins (n, n_bits) of gallery rows."""
        return self.head(x)

    def margins_query(self, x: Tensor) -> Tensor:
        """Margins (n, n_bits) of queries."""
        return self.margins(x)

    def export(self) -> tuple[list[Layer], list[Layer] | None]:
        """Layers for gallery rows, and for queries where those have layers of their own."""
        return self.head.export(), None


class NeuralLSH(Learner):
    """Balance, no sitting on the fence, and codes of what does not belong together at right angles."""

    remedies: ClassVar[Mapping[str, str]] = {
        "balance": _CONSTANT,
        "fence": _CONSTANT,
    }

    def __init__(self, task: Task, options: Mapping[str, Any]) -> None:
        super().__init__(task, options)
        self.relevant = task.relevance(1 - options["quantile"])

    def terms(self, batch: Batch) -> Terms:
        options = self.options
        soft = torch.tanh(self.head(batch.x))
        rows, negative = draw_negatives(
            options["negatives"],
            options["n_negatives"],
            batch.rows,
            self.task.rows,
            self.relevant,
            lambda others: cosines(batch.x, self.task.read(others)),
            batch.draw,
        )
        others = soft if rows is batch.rows else torch.tanh(self.head(self.task.read(rows)))
        balance = losses.balance_of_items if options["balance"] == "item" else losses.balance_of_bits
        terms = {
            "balance": options["alpha"] * balance(soft),
            "fence": options["beta"] * losses.fence(soft),
            "repulsion": (1 - options["alpha"] - options["beta"]) * losses.repulsion(soft, others, negative),
        }
        if options["attraction"] > 0:
            positive = self.relevant(batch.rows, batch.rows).fill_diagonal_(False)
            terms["attraction"] = options["attraction"] * losses.attraction(soft, soft, positive)
        return terms


class RelevanceLSH(Learner):
    """Heads for queries and for the gallery, trained against relevance; then one hash layer for both."""

    stages = 2
    remedies: ClassVar[Mapping[str, str]] = {
        "fence": "fence is met by one code for everything: give collision more weight",
        "balance": "balance is met by margins near zero: give fence or collision more weight",
    }

    def __init__(self, task: Task, options: Mapping[str, Any]) -> None:
        super().__init__(task, options)
        self.query_head = self.make_head()
        self.hash = nn.Linear(options["embedding"], task.n_bits)
        self.stage = 0
        if options["positives"] == "label":
            self.relevant = task.relevance(2.0 ** -options["key_bits"])
        else:
            self.relevant = BySimilarity(task.read, task.rows, 2.0 ** -options["key_bits"], task.seed)

    def make_head(self) -> Head:
        return Head(self.task.dim, self.options["embedding"], self.options["hidden"], unit=True)

    @property
    def heads(self) -> Sequence[Head]:
        return [self.head, self.query_head]

    def begin(self, stage: int) -> None:
        self.stage = stage
        for name, parameter in self.named_parameters():
            if stage == 1 or not name.startswith("body."):  # what is frozen of a backbone stays so
                parameter.requires_grad_(name.startswith("hash.") == (stage == 1))

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.stage == 1:  # not the backbone's statistics either
            self.body.eval()
        return self

    def terms(self, batch: Batch) -> Terms:
        options = self.options
        rows = batch.rows
        query = self.query_head(batch.x)
        if self.task.whole:
            rows = draw_rows(self.task.rows, options["n_corpus"], batch.draw)
        corpus = self.head(self.task.read(rows) if self.task.whole else batch.x)
        relevant = self.relevant(batch.rows, rows)
        if self.stage == 0:
            return {"relevance": losses.relevance_cross_entropy(query, corpus, relevant, options["cos_to_prob"])}
        query, corpus = (torch.tanh(self.hash(z.detach())) for z in (query, corpus))
        both = torch.cat([query, corpus])
        fence, collision = options["fence"], options["collision"]
        return {
            "fence": fence * losses.fence(both),
            "balance": (1 - fence - collision) * losses.balance_of_bits(both),
            "collision": collision * losses.collision_hinge(query, corpus, relevant, options["margin"]),
        }

    def margins(self, x: Tensor) -> Tensor:
        return self.head(x) if self.stage == 0 else self.hash(self.head(x))

    def margins_query(self, x: Tensor) -> Tensor:
        return self.query_head(x) if self.stage == 0 else self.hash(self.query_head(x))

    def export(self) -> tuple[list[Layer], list[Layer] | None]:
        last = Layer(self.hash.weight.detach().cpu().numpy().copy(), self.hash.bias.detach().cpu().numpy().copy())
        return [*self.head.export(), last], [*self.query_head.export(), last]


class DSH(Learner):
    """Pairs near or far, and margins near +1 and -1."""

    remedies: ClassVar[Mapping[str, str]] = {
        "quantisation": "lower penalty",
        "pairs": "raise batch_size, so that a batch holds pairs of both kinds",
    }

    def terms(self, batch: Batch) -> Terms:
        n_bits = self.task.n_bits
        margins = self.head(batch.x)
        similar = of_labels(self.task)(batch.rows, batch.rows)
        return {
            # Over n_bits, which leaves the minimum where it was, and the size of a step the same for any code length.
            "pairs": losses.contrastive(margins, similar, 2.0 * n_bits) / n_bits,
            "quantisation": 2 * self.options["penalty"] * losses.fence(margins),
        }


class HashNet(Learner):
    """Weighted likelihood of pairs, for codes that come ever closer to signs."""

    remedies: ClassVar[Mapping[str, str]] = {
        "likelihood": "raise scale (10 / n_bits by default), or lower learning_rate"
    }

    def terms(self, batch: Batch) -> Terms:
        margins = self.head(batch.x)
        beta = (1 + self.options["continuation"] * (batch.step // 200 * 200)) ** 0.5
        scale = self.options["scale"] or 10.0 / self.task.n_bits
        similarity = of_labels(self.task).similarity(batch.rows)
        return {"likelihood": losses.weighted_likelihood(torch.tanh(beta * margins), similarity, scale)}


class BiHalf(Learner):
    """Codes whose every bit is half +1, with the cosines of the features."""

    def terms(self, batch: Batch) -> Terms:
        codes = half_half(self.head(batch.x), self.options["gamma"])
        return {"cosines": losses.cosine_matching(codes, batch.x.detach())}


class OrthoHash(Learner):
    """The class whose code is nearest by cosine, with a margin."""

    def __init__(self, task: Task, options: Mapping[str, Any]) -> None:
        super().__init__(task, options)
        labels = of_labels(task)
        self.register_buffer("codebook", codebook(labels.n_classes, task.n_bits, generator(task.seed, 1)))

    def make_head(self) -> Head:
        return Head(self.task.dim, self.task.n_bits, self.options["hidden"], normalise=True)

    def terms(self, batch: Batch) -> Terms:
        targets = of_labels(self.task).targets(batch.rows)
        targets = targets / targets.sum(dim=1, keepdim=True).clamp(min=1)
        margins = self.head(batch.x)
        scale, margin = self.options["scale"], self.options["margin"]
        return {"classes": losses.cosine_cross_entropy(margins, self.codebook, targets, scale, margin)}


class CSQ(Learner):
    """The code of the class, bit by bit."""

    def __init__(self, task: Task, options: Mapping[str, Any]) -> None:
        super().__init__(task, options)
        draw = generator(task.seed, 1)
        self.register_buffer("codebook", codebook(of_labels(task).n_classes, task.n_bits, draw))
        self.register_buffer("ties", torch.randint(2, (task.n_bits,), generator=draw).float() * 2 - 1)

    def terms(self, batch: Batch) -> Terms:
        margins = self.head(batch.x)
        centres = of_labels(self.task).targets(batch.rows) @ self.codebook
        centres = torch.where(centres == 0, self.ties, centres.sign())
        return {
            "centres": losses.central_similarity(margins, centres),
            "quantisation": self.options["penalty"] * losses.squared_quantisation(margins),
        }


class GreedyHash(Learner):
    """Signs from which a linear classifier reads the labels."""

    remedies: ClassVar[Mapping[str, str]] = {"quantisation": "lower penalty"}

    def __init__(self, task: Task, options: Mapping[str, Any]) -> None:
        super().__init__(task, options)
        self.classifier = nn.Linear(task.n_bits, of_labels(task).n_classes)

    def terms(self, batch: Batch) -> Terms:
        labels = of_labels(self.task)
        margins = self.head(batch.x)
        logits = self.classifier(sign(margins))
        return {
            "classes": losses.classification(logits, labels.targets(batch.rows), labels.several),
            "quantisation": self.options["penalty"] * losses.cubic_quantisation(margins),
        }


class CIBHash(Learner):
    """Two views of a row are nearest to each other, by codes that say no more than that takes."""

    views = 2
    remedies: ClassVar[Mapping[str, str]] = {"divergence": "lower penalty"}

    def terms(self, batch: Batch) -> Terms:
        views = [self._view(batch) for _ in range(2)] if batch.other is None else [batch.x, batch.other]
        probabilities = [torch.sigmoid(self.head(view)) for view in views]
        first, second = (sign(p - 0.5) for p in probabilities)
        return {
            "views": losses.nt_xent(first, second, self.options["temperature"]),
            "divergence": self.options["penalty"] * losses.bernoulli_divergence(*probabilities),
        }

    def _view(self, batch: Batch) -> Tensor:
        """Features, of which a random share is at its mean."""
        kept = torch.rand(batch.x.shape, generator=batch.draw) >= self.options["dropout"]
        return torch.where(kept.to(batch.x.device), batch.x, self.head.shift)


def of_labels(task: Task) -> ByLabel:
    """The labels of a task that cannot be without."""
    assert task.labels is not None
    return task.labels


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """Cosines (n, m) of rows."""
    return nn.functional.normalize(a) @ nn.functional.normalize(b).T
