"""The other side of `collapse bench`: the same models and their training in transformers, which is imported late."""

import torch


def _gpt2(config):
    from transformers import GPT2Config, GPT2LMHeadModel

    dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout)
    names = {"n_embd": config.hidden, "n_layer": config.layers, "n_head": config.heads, "n_positions": config.positions}
    return GPT2LMHeadModel(GPT2Config(vocab_size=config.vocabulary, **names, **dropout, **_ends(config)))


def _llama2(config):
    from transformers import LlamaConfig, LlamaForCausalLM

    names = {
        "hidden_size": config.hidden, "num_hidden_layers": config.layers, "num_attention_heads": config.heads,
        "intermediate_size": config.intermediate, "max_position_embeddings": config.positions,
    }  # fmt: skip
    more = {"vocab_size": config.vocabulary, "rms_norm_eps": 1e-5, "attention_dropout": config.dropout}
    return LlamaForCausalLM(LlamaConfig(**names, **more, **_ends(config)))


def _opt(config):
    from transformers import OPTConfig, OPTForCausalLM

    names = {
        "hidden_size": config.hidden, "num_hidden_layers": config.layers, "num_attention_heads": config.heads,
        "ffn_dim": 4 * config.hidden, "max_position_embeddings": config.positions,
    }  # fmt: skip
    return OPTForCausalLM(OPTConfig(**names, vocab_size=config.vocabulary, dropout=config.dropout, **_ends(config)))


def _ends(config) -> dict[str, int]:
    return dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), config.end)


LIBRARY = {"gpt2": _gpt2, "llama2": _llama2, "opt": _opt}
"""Family -> the same model of transformers, with fresh weights."""


def _padded(texts: list[list[int]], end: int) -> dict[str, torch.Tensor]:
    """Lay out texts as a language model of transformers takes them; padding at the end needs no mask."""
    told = [torch.tensor([end, *text, end]) for text in texts]
    rows = torch.nn.utils.rnn.pad_sequence(told, batch_first=True, padding_value=end)
    labels = torch.nn.utils.rnn.pad_sequence(told, batch_first=True, padding_value=-100)
    return {"input_ids": rows, "labels": labels}


def plain_loop(model, texts: list[list[int]], config, passes: float) -> None:
    """Train as one would write it down: torch's AdamW class, stories in their order, padded."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate)
    batches = [texts[start : start + config.batch] for start in range(0, len(texts), config.batch)]
    for i in range(round(passes * len(batches))):
        optimiser.zero_grad()
        model(**_padded(batches[i % len(batches)], config.end)).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()


def trainer(model, texts: list[list[int]], config, passes: float, folder: str):
    """Return transformers' Trainer: batches of similar length, fused AdamW, nothing logged, nothing saved."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=folder, use_cpu=True, num_train_epochs=passes, per_device_train_batch_size=config.batch,
        train_sampling_strategy="group_by_length", optim="adamw_torch_fused", learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule, warmup_steps=config.warmup_steps, weight_decay=config.weight_decay,
        adam_beta1=config.betas[0], adam_beta2=config.betas[1], max_grad_norm=config.clip or 0.0,
        logging_strategy="no", save_strategy="no", report_to=[], disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(
        model, arguments, train_dataset=[{"input_ids": text} for text in texts],
        data_collator=lambda rows: _padded([row["input_ids"] for row in rows], config.end),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer
