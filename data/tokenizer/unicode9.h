// Which characters the reference's normal forms do not know.
#pragma once

namespace lowrank::data {

/// PyPI tokenizers normalises with the tables of Unicode 9. A character whose combining class, decomposition or
/// composition came later stays as it is there, and nothing moves or composes across it; so here, whatever version of
/// utf8proc is linked. (Found by comparing all characters; tests/parity/tokenizer_parity.py does it again.)
bool normalizes_after_unicode_9(char32_t c);

}  // namespace lowrank::data
