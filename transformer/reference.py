"""The clear-text model in torch, as HuggingFace runs it: what the private result is compared with."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformer.architecture import Architecture
from transformer.hf import ModelFolder, read_weights
from transformer.inference import Tokens

Real = NDArray[np.float64]
CLASSES = {
    "features": "BertModel",
    "embedding": "BertModel",
    "classification": "BertForSequenceClassification",
    "masked-lm": "BertForMaskedLM",
}


def load_reference(folder: ModelFolder, arch: Architecture) -> Any:
    """The torch model of that task, in evaluation mode."""
    import transformers

    logging.getLogger("transformers").setLevel(logging.ERROR)
    config = transformers.AutoConfig.from_pretrained(
        folder.path, trust_remote_code=False, num_labels=len(arch.labels) or 2
    )
    model = getattr(transformers, CLASSES[arch.task])(config)
    _fill(model, folder)
    return model.eval()


def _fill(model: Any, folder: ModelFolder) -> None:
    """Weights by our own reader, so that all formats it knows (old names, plain .bin) work here too."""
    import torch

    own = {name: torch.from_numpy(value).float() for name, value in read_weights(folder).items()}
    state = model.state_dict()
    for name in state:
        source = name.removeprefix("bert.")
        if source == "cls.predictions.decoder.weight":
            source = "embeddings.word_embeddings.weight"
        if source == "cls.predictions.decoder.bias":
            source = "cls.predictions.bias"
        if source in own:
            state[name] = own[source]
    model.load_state_dict(state)


#: gamma and beta of the LayerNorm that a layer's hidden states come from: of the embeddings, then of each layer.
LayerNorms = list[tuple[Real, Real]]


def layer_norms(model: Any) -> LayerNorms:
    """Of every layer's output."""
    bert = getattr(model, "bert", model)
    modules = [bert.embeddings.LayerNorm, *(layer.output.LayerNorm for layer in bert.encoder.layer)]
    return [tuple(p.detach().double().numpy() for p in (m.weight, m.bias)) for m in modules]


def run_reference(model: Any, arch: Architecture, tokens: Tokens) -> dict[str, Real]:
    """The outputs of the private inference, in clear, by the same names."""
    return run_with_layers(model, arch, tokens)[0]


def run_with_layers(model: Any, arch: Architecture, tokens: Tokens) -> tuple[dict[str, Real], list[Real]]:
    """Those outputs, and the hidden states before the first layer and after each."""
    import torch

    types = torch.from_numpy(tokens.types) if arch.types else None
    with torch.no_grad():
        result = model(
            input_ids=torch.from_numpy(tokens.ids),
            attention_mask=torch.from_numpy(tokens.keep),
            token_type_ids=types,
            output_hidden_states=True,
        )
    return _outputs(result, arch, tokens), [states.double().numpy() for states in result.hidden_states]


def _outputs(result: Any, arch: Architecture, tokens: Tokens) -> dict[str, Real]:
    if arch.task in ("classification", "masked-lm"):
        return {"logits": result.logits.double().numpy()}
    hidden = result.last_hidden_state.double().numpy()
    if arch.task == "embedding":
        return {"embedding": pool(hidden, tokens.keep, arch)}
    outputs = {"last_hidden_state": hidden}
    if arch.uses_pooler:
        outputs["pooler_output"] = result.pooler_output.double().numpy()
    return outputs


def pool(hidden: Real, keep: NDArray[np.int64], arch: Architecture) -> Real:
    """Sentence vectors from hidden states, as sentence-transformers makes them."""
    if arch.pooling == "cls":
        vectors = hidden[:, 0]
    else:
        weights = keep[:, :, None].astype(np.float64)
        vectors = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
    if arch.normalise:
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


# -- comparison ------------------------------------------------------------------------------------------


def cosines(a: Real, b: Real) -> list[float]:
    """Cosine of each row of two [batch, ...] arrays (rows flattened)."""
    x, y = a.reshape(len(a), -1), b.reshape(len(b), -1)
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return [float(c) for c in (x * y).sum(axis=1) / np.where(norms == 0, 1, norms)]


def similarity(vectors: Real) -> Real:
    """Cosines of all pairs of rows."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T, np.float64)


def tokens_only(outputs: Real, keep: NDArray[np.int64]) -> Real:
    """[batch, length, ...] without what stands at padding (set to 0)."""
    return outputs * keep.reshape(*keep.shape, *[1] * (outputs.ndim - 2))
