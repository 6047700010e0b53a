"""Settings of training (§5)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from visuallens.config.frozen import FROZEN


class LoraSettings(BaseModel):
    """The size of an adapter."""

    model_config = FROZEN

    rank: int = Field(default=16, ge=1)
    """Source: Table 5 (16) and Table 6 (64)."""
    alpha: int = Field(default=16, ge=1)
    """Source: Table 5 (16) and Table 6 (64)."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Source: Tables 5 and 6."""


class LoopSettings(BaseModel):
    """The one loop that all stages share."""

    model_config = FROZEN

    steps: int = Field(default=1000, ge=1)
    """Steps of the optimiser. Choice: the paper does not say how many."""
    batch_size: int = Field(default=8, ge=1)
    """Examples of one forward pass of one process. Source: Tables 5 and 6."""
    accumulation: int = Field(default=8, ge=1)
    """Forward passes of one step. Source: Tables 5 and 6, gradient accumulation steps."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Source: Tables 5 and 6."""
    warmup_steps: int = Field(default=200, ge=0)
    """Source: Tables 5 and 6."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """After the warm-up. Choice: the paper does not say."""
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """"auto": bfloat16 on a GPU that has it, float32 elsewhere."""
    gradient_checkpointing: bool = False
    """Compute activations twice, to hold fewer of them."""
    compile: bool = False
    """Compile the layers of a language model first: minutes, then about a third less time a step on
    a processor. Needs a C++ compiler there."""
    evaluate_every: int = Field(default=100, ge=1)
    """Steps between evaluations on dev; each writes a checkpoint."""
    patience: int | None = Field(default=None, ge=1)
    """Evaluations without a better score after which training stops. None: never."""
    tensorboard: bool = True


class CaptionTrainingSettings(BaseModel):
    """Stage 1: multi-image caption pretraining (§5.1)."""

    model_config = FROZEN

    grid_sides: tuple[int, ...] = (8,)
    """The curriculum: grids of these sides one after the other, each for the same number of steps.
    Source: §5.1, w photos. Choice: small backbones begin with small grids."""
    max_words: int = Field(default=30, ge=1)
    """Longer captions are cut. Choice: as those of photos (§4.1); DOCCI's are far longer, and 64 of
    them do not fit a prompt."""
    dev_share: float = Field(default=0.05, gt=0, lt=0.5)
    """Of the photos; they are shown in no training grid."""
    dev_grids: int = Field(default=16, ge=1)
    dev_cells: int = Field(default=4, ge=2)
    """Cells of a dev grid that are asked for, each against the captions of all of them. Choice: at
    larger grids asking for all costs the square of their number."""
    tags: tuple[str, ...] = ()
    """Columns whose tags are joined into a caption, for rows without one."""


class AspectTrainingSettings(BaseModel):
    """Stage 2: iterative aspect word refinement (§5.2)."""

    model_config = FROZEN

    selector: Literal["backbone", "statistical"] = "backbone"
    """Who chooses useful words: a language model with the prompt of Figure 6, or statistics of the
    training users."""
    max_rounds: int = Field(default=4, ge=0)
    """Source: §5.2, about 4 rounds. 0: no iteration (Table 3, Iter.)."""
    same_from: float = Field(default=0.98, gt=0, le=1)
    """Rounds end early when the sets of two rounds are this alike (mean Jaccard index)."""
    folds: int = Field(default=5, ge=2)
    """Of the users, for the cross-fitting of the statistical selector."""
    examples_per_photo: int = Field(default=3, ge=1)
    """A photo is in the profiles of many examples; this many of them choose among its words in each
    round. Choice: the paper does not say how many."""
    sampled_photos: int | None = Field(default=None, ge=1)
    """Refine only so many photos, drawn with the seed. None: all that training profiles show."""
    batch_photos: int = Field(default=32, ge=1)
    """Photos that are asked for at once, and lost at most when a run is killed."""
    prior: float = Field(default=10.0, gt=0)
    """Candidates that the statistical selector imagines on either side, see there."""
    least_z: float = 1.0
    """Standard errors above zero from which it keeps a word."""


class JointTrainingSettings(BaseModel):
    """Stage 3: joint training of aspect word generation and candidate matching (§5.3)."""

    model_config = FROZEN

    joint: bool = True
    """Table 3, Joint. Without it, only candidate matching is trained."""
    match_weight: float = Field(default=2.0, ge=0)
    """Lambda. Source: §6.3, Equation 3."""
    form: Literal["sigmoid", "softmax", "listwise"] = "sigmoid"
    """Of the matching loss, see `training/losses.py`."""
    labels: Literal["new", "reserved", "letters", "names"] = "new"
    """Source: appendix D, new tokens. "names": see `rankers/naming.py`."""
    teacher: Path | None = None
    """Run file of another ranker on the train split, to be distilled from."""
    teacher_weight: float = Field(default=0.5, ge=0, le=1)
    """Share of the teacher in the loss of matching."""
    teacher_taste: float = Field(default=0.0, ge=0)
    """Strengthens what the teacher says to one user alone, see `training/teacher.py`."""
    dev_examples: int = Field(default=200, ge=1)
    """Of the dev split, that the score is measured on."""
    remembered: int = Field(default=64, ge=1)
    """Requests whose prompt and grid stay in memory; a grid of 896 px takes 2.4 MB."""


class UniMPTrainingSettings(BaseModel):
    """The baseline UniMP (§6.3), on the loop that all stages share.

    Source for the defaults: the published scripts of UniMP (Wei et al. 2024) and the OpenFlamingo
    model that they begin with, RedPajama 3B.
    """

    model_config = FROZEN

    every: int = Field(default=2, ge=1)
    """Cross-attention stands before every so many-th layer of the language model."""
    heads: int = Field(default=8, ge=1)
    head_dim: int = Field(default=64, ge=1)
    widening: int = Field(default=4, ge=1)
    """Of the feed-forward part that follows cross-attention."""
    gamma: float = Field(default=2.0, ge=0)
    """Of the focal weight; 0 is plain cross-entropy."""
    lora: bool = False
    """Adapt the language model too, by `training.lora`. Choice: off, it is frozen in Flamingo."""
    labels: Literal["new", "reserved", "letters"] = "new"
    """Choice: as in joint training, so that the two are asked alike."""
    dev_examples: int = Field(default=200, ge=1)
    """Of the dev split, that the score is measured on."""


class AttentionTrainingSettings(BaseModel):
    """The ranker `attention`, ours: a memory in closed form, and a small head on the loop.

    Choice: the numbers were chosen on dev of `movielens-v` and, for those of the memory, on its
    training users by cross-fitting (docs/training.md).
    """

    model_config = FROZEN

    history: bool = True
    """Without it the matcher sees no photo: the control that every table prints."""
    new_candidates: bool = False
    """Train for candidates that the memory does not know: it never knows those of the loss."""
    image_dims: int = Field(default=128, ge=1)
    """Principal components of photo embeddings."""
    text_dims: int = Field(default=64, ge=1)
    """Principal components of names, and as many of descriptions."""
    factors: int = Field(default=64, ge=1)
    """Of a taste."""
    landmarks: int = Field(default=4096, ge=2)
    """Photos that are remembered; of more, as many clusters."""
    sharpness: float = Field(default=3.0, gt=0)
    """s of the attention exp(s (cos - 1)) to landmarks."""
    ridge: float = Field(default=0.3, gt=0)
    """Of the kernel regression that gives landmarks their values."""
    shrinkage: float = Field(default=1000.0, gt=0)
    """Lambda of EASE, which says what goes together in the tastes of training users."""
    user_power: float = Field(default=0.25, ge=0)
    """A user with n photos counts n to the minus this, so that few do not speak for all."""
    folds: int = Field(default=5, ge=2)
    """Of the users; the head learns from memories that do not know the user."""
    width: int = Field(default=64, ge=1)
    heads: int = Field(default=4, ge=1)
    layers: int = Field(default=1, ge=0)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    attended_photos: int = Field(default=64, ge=1)
    """Photos that candidates attend to one by one, the most relevant ones; all that are retrieved
    count in the taste."""
    max_words: int = Field(default=32, ge=0)
    form: Literal["sigmoid", "softmax", "listwise"] = "listwise"
    """Of the matching loss, see `training/losses.py`."""
    teacher: Path | None = None
    """Run file of a slower ranker on the train split, to be distilled from."""
    teacher_weight: float = Field(default=0.5, ge=0, le=1)
    """Share of the teacher in the loss."""
    examples: int = Field(default=20_000, ge=1)
    """Of the train split at most, drawn with the seed; all that they need is held in memory."""
    dev_examples: int = Field(default=1000, ge=1)
    """Of the dev split at most, that the score is measured on."""

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} cannot be shared by {self.heads} heads")
        return self


class TrainingSettings(BaseModel):
    """All stages of §5."""

    model_config = FROZEN

    loop: LoopSettings = LoopSettings()
    lora: LoraSettings = LoraSettings()
    captions: CaptionTrainingSettings = CaptionTrainingSettings()
    aspects: AspectTrainingSettings = AspectTrainingSettings()
    joint: JointTrainingSettings = JointTrainingSettings()
    unimp: UniMPTrainingSettings = UniMPTrainingSettings()
    attention: AttentionTrainingSettings = AttentionTrainingSettings()
