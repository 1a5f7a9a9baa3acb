#!/usr/bin/env python3
"""Golden answers of beam search from transformers' generate, one prompt at a time.

    python3 tests/parity/make_beam_goldens.py [--assets DIR] [--out tests/goldens]

models/beams.json: for the random tiny models of make_goldens.py (under --out) and, with --assets, for stories260K: prompts,
settings, the best answer's ids and its score. End tokens are tokens that the models like, so that beams end at many lengths.
An answer that the same model in double precision does not give too is a matter of rounding, and left out.
"""
import argparse
import json
import pathlib

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

SETTINGS = [
    dict(num_beams=3, length_penalty=1.0, early_stopping=False),
    dict(num_beams=4, length_penalty=0.0, early_stopping="never"),
    dict(num_beams=4, length_penalty=2.0, early_stopping="never", no_repeat_ngram_size=2),
    dict(num_beams=2, length_penalty=-1.0, early_stopping=False),
    dict(num_beams=5, length_penalty=1.0, early_stopping=True, no_repeat_ngram_size=3),
    dict(num_beams=3, length_penalty=0.6, early_stopping=False, repetition_penalty=1.3),
    dict(num_beams=1, length_penalty=1.0, early_stopping=False),
]
STORIES = ["Once upon a time", "Lily and Ben", "The dog", "One day, a little girl named Lucy went to the park"]
MAX_NEW_TOKENS = 16


def search(model, prompt, eos, settings):
    beams = settings["num_beams"]
    with torch.no_grad():
        out = model.generate(input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                             do_sample=False, max_new_tokens=MAX_NEW_TOKENS, eos_token_id=eos or None, pad_token_id=0,
                             return_dict_in_generate=True, output_scores=True, **settings)
    ids = out.sequences[0, len(prompt):].tolist()
    ends = [i for i, token in enumerate(ids) if token in eos]
    return (ids[:ends[0] + 1] if ends else ids), (out.sequences_scores[0].item() if beams > 1 else None)


def cases_of(name, folder, prompts):
    models = [AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
              for dtype in (torch.float32, torch.float64)]
    for model in models:
        model.generation_config.bos_token_id = model.generation_config.eos_token_id = None
    liked = [token for prompt in prompts for token in search(models[0], prompt, [], SETTINGS[1])[0]]
    eos = sorted({liked[3], liked[MAX_NEW_TOKENS + 7], liked[-2]})
    cases, lengths = [], set()
    for settings in SETTINGS:
        for prompt in prompts:
            ids, score = search(models[0], prompt, eos, settings)
            if search(models[1], prompt, eos, settings)[0] != ids:
                print(f"  {name}: a matter of rounding, left out: {settings} {prompt[:5]}")
                continue
            lengths.add(len(ids))
            cases.append(dict(settings=settings, prompt=prompt, ids=ids, score=score))
    assert len(lengths) >= 4, f"{name}: answers all end at {lengths}"
    print(f"{name}: {len(cases)} answers, lengths {sorted(lengths)}")
    return dict(model=name, eos=eos, answers=cases)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent / "goldens")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    generator = torch.Generator().manual_seed(3)
    prompts = [torch.randint(3, 128, (n,), generator=generator).tolist() for n in (5, 1, 12)]
    models = [cases_of(name, arguments.out / "models" / name, prompts) for name in ("llama", "mistral", "qwen3")]
    prompts = [[token % 37 + 3 for token in prompt] for prompt in prompts]  # these know 40 tokens
    models += [cases_of(name, arguments.out / "models" / name, prompts) for name in ("qwen3_5", "lfm2")]
    if arguments.assets:
        folder = arguments.assets / "models" / "stories260K-hf"
        tokenizer = AutoTokenizer.from_pretrained(folder)
        models.append(cases_of("stories260K-hf", folder, [tokenizer(text).input_ids for text in STORIES]))
    lines = [json.dumps(dict(model=m["model"], eos=m["eos"])) [:-1] + ', "answers": [\n  ' +
             ",\n  ".join(json.dumps(a) for a in m["answers"]) + "]}" for m in models]
    (arguments.out / "models" / "beams.json").write_text(
        f'{{"max_new_tokens": {MAX_NEW_TOKENS}, "models": [\n ' + ",\n ".join(lines) + "]}\n")


if __name__ == "__main__":
    main()
