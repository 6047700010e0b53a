"""PyTorch side of the MiniCPM-V families: what transformers and the published code leave out.

Imported only when weights are loaded. The published code of MiniCPM-Llama3-V 2.5 takes one
dictionary of lists; here it gets the interface that all other backbones have.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from transformers import MiniCPMV4_6ForConditionalGeneration as Published
from transformers.initialization import no_init_weights
from transformers.modeling_outputs import MultimodalCausalLMOutputWithPast

from visuallens.models.backbones.family import Source
from visuallens.models.backbones.loading import refuse_missing


# Any: base classes and outputs of transformers, which ships no types.
class MiniCPMV4_6ForConditionalGeneration(Published):  # noqa: N801 - its name
    """MiniCPM-V 4.6 that computes only the logits that are asked for.

    Choice: the published class gives logits of every token; over 248,000 words, a prompt of 2,000
        tokens would take two gigabytes. The name is kept, so that merged weights can be served.
    """

    def forward(  # noqa: PLR0913, PLR0917 - the arguments of the published class
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        target_sizes: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Any = None,  # noqa: ANN401
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **more: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Run the model.

        Args:
            input_ids: (prompts, tokens).
            pixel_values: (1, 3, patch side, columns), all patches side by side.
            target_sizes: (slices, 2), rows and columns of patches.
            attention_mask: (prompts, tokens).
            position_ids: of the text.
            cache: keys and values, and states of linear attention.
            inputs_embeds: instead of `input_ids`.
            use_cache: give the cache back.
            logits_to_keep: of the last so many tokens; 0 keeps all.
            **more: as the published class.

        Returns:
            As the published class.
        """
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            target_sizes=target_sizes,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **more,
        )
        kept = outputs.last_hidden_state[:, -logits_to_keep:]
        return MultimodalCausalLMOutputWithPast(logits=self.lm_head(kept), cache=outputs.cache)


class RemoteMiniCPMV(nn.Module):
    """MiniCPM-Llama3-V 2.5, from the code that comes with its weights.

    Args:
        remote: `MiniCPMV` of that code.
        stop_ids: tokens that end an answer.
        folder: holds the code.
    """

    # Any: a class of the published code.
    def __init__(self, remote: Any, stop_ids: list[int], folder: Path) -> None:  # noqa: ANN401
        super().__init__()
        self.remote = remote
        self._stop_ids = stop_ids
        self._folder = folder

    @property
    def config(self) -> Any:  # noqa: ANN401
        """Configuration of the published code."""
        return self.remote.config

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        pixel_values: Tensor | None = None,
        image_bound: Tensor | None = None,
        tgt_sizes: Tensor | None = None,
        **asked: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Run the model.

        Args:
            input_ids: (prompts, tokens); only the new ones when a cache is given.
            attention_mask: (prompts, all tokens).
            pixel_values: (3, patch side, columns), all patches of all slices side by side.
            image_bound: (slices, 3): prompt, first token, one past the last.
            tgt_sizes: (slices, 2): rows and columns of patches.
            **asked: `cache`, `use_cache`, `logits_to_keep` for the language model.

        Returns:
            Output of the language model.
        """
        data = self._data(input_ids, attention_mask, pixel_values, image_bound, tgt_sizes)
        return self.remote(data, attention_mask=attention_mask, **asked)

    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        pixel_values: Tensor | None = None,
        image_bound: Tensor | None = None,
        tgt_sizes: Tensor | None = None,
        **asked: Any,  # noqa: ANN401
    ) -> Tensor:
        """Continue prompts.

        Args:
            input_ids: see `forward`.
            attention_mask: likewise.
            pixel_values: likewise.
            image_bound: likewise.
            tgt_sizes: likewise.
            **asked: of the language model's `generate`.

        Returns:
            Token ids of prompt and answer.
        """
        data = self._data(input_ids, attention_mask, pixel_values, image_bound, tgt_sizes)
        embeddings, _ = self.remote.get_vllm_embedding(data)
        written = self.remote.llm.generate(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            eos_token_id=self._stop_ids,
            **asked,
        )
        return torch.cat([input_ids, written], dim=1)

    def enable_input_require_grads(self) -> None:
        """Let gradients reach the first adapters; PEFT asks for it.

        Choice: the published code writes image tokens into the embeddings in place, which PyTorch
            refuses for a leaf, so a copy is given where nothing before it is trained.
        """
        self.get_input_embeddings().register_forward_hook(_with_gradient)

    def get_input_embeddings(self) -> nn.Module:
        """Give the embedding of the language model."""
        embedding: nn.Module = self.remote.llm.get_input_embeddings()
        return embedding

    def get_output_embeddings(self) -> nn.Module:
        """Give the head of the language model."""
        head: nn.Module = self.remote.llm.get_output_embeddings()
        return head

    def resize_token_embeddings(self, rows: int, *, mean_resizing: bool) -> None:
        """Grow the vocabulary of the language model."""
        self.remote.llm.resize_token_embeddings(rows, mean_resizing=mean_resizing)
        self.remote.config.vocab_size = rows

    def save_pretrained(self, folder: Path) -> None:
        """Write weights, configuration and the code that reads them."""
        self.remote.save_pretrained(folder)
        for file in self._folder.glob("*.py"):
            shutil.copyfile(file, Path(folder) / file.name)

    def _data(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        pixel_values: Tensor | None,
        image_bound: Tensor | None,
        tgt_sizes: Tensor | None,
    ) -> dict[str, Any]:
        """Turn packed tensors into the lists that the published code reads, one per prompt."""
        prompts, tokens = input_ids.shape
        positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)[:, -tokens:]
        data = {"input_ids": input_ids, "position_ids": positions}
        if pixel_values is None or image_bound is None or tgt_sizes is None:
            nothing: list[list[Tensor]] = [[] for _ in range(prompts)]
            return {**data, "pixel_values": nothing, "tgt_sizes": nothing, "image_bound": nothing}
        widths = tgt_sizes.prod(-1) * pixel_values.shape[1]
        slices = pixel_values.split(widths.tolist(), dim=-1)
        owners = image_bound[:, 0]
        rows = [torch.nonzero(owners == prompt).flatten().tolist() for prompt in range(prompts)]
        return {
            **data,
            "pixel_values": [[slices[at] for at in row] for row in rows],
            "tgt_sizes": [tgt_sizes[row] for row in rows],
            "image_bound": [image_bound[row, 1:] for row in rows],
        }


def _with_gradient(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    del module, inputs
    if output.requires_grad or not torch.is_grad_enabled():
        return output
    return output.requires_grad_().clone()


def load_remote(source: Source, dtype: torch.dtype) -> Any:  # noqa: ANN401
    """Load the published model of MiniCPM-Llama3-V 2.5 with the code in its folder.

    Args:
        source: of code and safetensors; says whether the user allows that code.
        dtype: of the weights.

    Returns:
        `MiniCPMV` of that code, in evaluation mode.

    Raises:
        WeightsMissingError: the files lack weights of the model.

    Choice: the model is made first and filled afterwards. `from_pretrained` of transformers 5 needs
        `post_init`, which that code never calls, and would lose what the code computes when it is
        made, such as the positions of its resampler.
    """
    folder, allowed = source.folder, source.trust_remote_code
    config = AutoConfig.from_pretrained(folder, trust_remote_code=allowed)
    with no_init_weights():
        remote = AutoModel.from_config(config, trust_remote_code=allowed, dtype=dtype)
        remote.post_init()
    shapes = {name: weight.shape for name, weight in remote.state_dict().items()}
    missing = set(shapes)
    for file in sorted(folder.glob("*.safetensors")):
        read = load_file(file)
        weights = {name: w for name, w in read.items() if w.shape == shapes.get(name)}
        remote.load_state_dict(weights, strict=False)
        missing.difference_update(weights)
    refuse_missing(source, missing)
    return remote.eval()
