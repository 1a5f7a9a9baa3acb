#!/usr/bin/env python3
"""Golden files of tests/eval for text scores and intervals.

    pip install sacrebleu rouge-score numpy
    python3 tests/parity/make_score_goldens.py [--out tests/goldens/eval]

scores.json      pairs of texts with sacrebleu's tokens, BLEU and chrF2 of each pair and of all as a corpus, and rouge-score's rougeL
bootstrap.json   numbers of units, resamples by a formula that the test knows too, and numpy's means and percentiles
"""
import argparse
import json
import pathlib

import numpy as np
import sacrebleu
from rouge_score import rouge_scorer
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

PAIRS = [  # hypothesis, reference
    ("The cat sat on the mat.", "The cat is sitting on the mat."),
    ("The quick brown fox jumps over the lazy dog.", "The quick brown fox jumped over the lazy dog."),
    ("In 1504, Michelangelo's David (4.34 m) was placed in Florence.", "Michelangelo's David, 4.34 m tall, was placed in Florence in 1504."),
    ("It cost $1,234.56 - or so they said, e.g. 50%.", "It cost $1,234.56, or so they said: e.g. 50%."),
    ("A fresco is painted on wet plaster; a secco is not.", "Fresco is painting upon wet plaster, secco upon dry."),
    ("O culto da arte em Portugal é antigo.", "O culto da arte em Portugal, há muito, é antigo."),
    ("Die Straße war naß und über alle Maßen schön.", "Die Straße war nass und über alle Massen schön."),
    ("彼は絵を描いた。", "彼女は絵を描きました。"),
    ("one", "one"),
    ("", "something"),
    ("nothing in common here", "wholly different words altogether"),
    ("a b c d e f g h i j", "a b c d e f g h i j"),
    ("well-known 19-20th century &quot;isms&quot; &amp; more -\nbroken", "well-known 19-20th century \"isms\" & more broken"),
    ("  spaces \t and\nlines  ", "spaces and lines"),
    ("...,,, .5, 5. 3,000.5 x,y 1-2 a-b", "... .5 5. 3,000.5 x,y 1-2 a-b"),
    ("<skipped>He said: \"No!\" [sic] {x} a/b @home #1 ~ok `q` ^ _ |", "He said: \"No!\" [sic] {x} a/b @home #1 ~ok `q` ^ _ |"),
]


def scores():
    tokenizer = Tokenizer13a()
    bleu, chrf = sacrebleu.BLEU(), sacrebleu.CHRF()
    rouge = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    rows = []
    for hypothesis, reference in PAIRS:
        rows.append({"hypothesis": hypothesis, "reference": reference,
                     "tokens": tokenizer(hypothesis.rstrip()).split(),
                     "bleu": bleu.corpus_score([hypothesis], [[reference]]).score,
                     "chrf": chrf.corpus_score([hypothesis], [[reference]]).score,
                     "rouge_l": rouge.score(reference, hypothesis)["rougeL"].fmeasure})
    hypotheses, references = [h for h, _ in PAIRS], [[r for _, r in PAIRS]]
    return {"sacrebleu": sacrebleu.__version__, "pairs": rows, "bleu": bleu.corpus_score(hypotheses, references).score,
            "chrf": chrf.corpus_score(hypotheses, references).score}


def bootstrap():
    n, resamples = 23, 400
    rng = np.random.default_rng(7)
    tokens = rng.integers(5, 200, n)
    nll = [tokens * rng.uniform(1.0, 3.0, n) for _ in range(2)]
    r, j = np.meshgrid(np.arange(resamples), np.arange(n), indexing="ij")
    drawn = (r * 7919 + j * 104729 + (r * j) % 31 + 13 * (r % 17) * (j % 5)) % n
    means = [model[drawn].sum(1) / tokens[drawn].sum(1) for model in nll]
    return {"resamples": resamples, "tokens": tokens.tolist(), "nll": [model.tolist() for model in nll],
            "first_means": [m[:10].tolist() for m in means],
            "intervals": [np.percentile(m, [2.5, 97.5]).tolist() for m in means],
            "difference": np.percentile(means[1] - means[0], [2.5, 97.5]).tolist()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent.parent / "goldens" / "eval")
    out = parser.parse_args().out
    for name, value in (("scores", scores()), ("bootstrap", bootstrap())):
        (out / f"{name}.json").write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
