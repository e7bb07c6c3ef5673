"""What numba compiles: the counts that the formulas need, by a pass over a row's bytes, one over
its tokens, and one over the words of its question."""

import numpy as np

from winnow.core.kernels import njit
from winnow.core.utf8 import code_point, seek
from winnow.core.words import ALONE, DIGIT, SPACE, WORD

COUNTS = (
    "response_words",
    "response_hits",  # bits: the words of the automaton
    "listed",  # 1: a numbered line, or a hyphen before white space
    "stops",
    "sentences",  # of a word or more
    "sentence_words",
    "sentence_squares",  # sum of the squares of their numbers of words
    "cut_words",  # of the response, in scripts without spaces too
    "question_words",
    "question_hits",
    "tokens",
    "distinct_tokens",
    "distinct_bigrams",
)

DEF = 1 << 31
"""The bit of "def " in response_hits: the one pattern whose case matters."""

UNDERSCORE, BASE = np.uint64(ord("_") + 1), np.uint64(0x9E3779B97F4A7C15)
"""Of the hash by which a text is known: its bytes as a polynomial of an odd base, modulo 2^64."""


@njit(cache=True, nogil=True)
def _cuts(data, start, end, kinds):
    """How many words begin in a text without a space before them: see `winnow.core.words`."""
    cuts, in_word, at = 0, False, start
    while at < end:
        char, size = code_point(data, at)
        at += size
        if kinds[char] & ALONE:
            cuts += in_word
            at = np.int64(seek(data, at, end, kinds, SPACE | WORD))
            if at < end:
                cuts += kinds[code_point(data, at)[0]] & (WORD | ALONE) == WORD
        in_word = kinds[char] & SPACE == 0
    return cuts


@njit(cache=True, nogil=True)
def _scan(data, start, end, kinds, machine, ends, out):
    words = hits = state = stops = sentences = total = squares = spoken = met = 0
    in_word, in_piece = False, False  # of a word, of a word within a sentence
    listed, numbered, begun, hyphen = False, False, True, False  # begun: a line, so far digits
    at = start
    while at < end:
        char, size = code_point(data, at)
        state = np.int64(machine[state, char]) if size == 1 else 0
        hits |= np.int64(ends[state])
        kind = kinds[char]
        met |= kind
        if kind & SPACE:
            in_word = in_piece = False
            listed |= hyphen
            if char == 32 and at >= start + 3 and data[at - 1] == ord("f"):
                hits |= DEF * (data[at - 3] == ord("d") and data[at - 2] == ord("e"))
        else:
            words += not in_word
            in_word = True
            if char == 46:  # a stop
                listed |= numbered
                stops += 1
                sentences += spoken > 0
                total += spoken
                squares += spoken * spoken
                spoken, in_piece = 0, False
            else:
                spoken += not in_piece
                in_piece = True
        hyphen = char == 45
        numbered = begun and kind & DIGIT != 0
        begun = char == 10 or numbered
        at += size
    out[0], out[1], out[2], out[3] = words, hits, listed, stops
    out[4], out[5] = sentences + (spoken > 0), total + spoken
    out[6] = squares + spoken * spoken
    out[7] = words + (_cuts(data, start, end, kinds) if met & ALONE else 0)


@njit(cache=True, nogil=True)
def scan(data, offsets, borders, kinds, machine, ends, out):
    r"""Count what is in rows of a question, a space and a response.

    Args:
        data: bytes of UTF-8.
        offsets: where each row starts, and the last one ends.
        borders: where each row's question ends.
        kinds: the classes of every code point.
        machine: the automaton's next states.
        ends: the words that end in each state.
        out: rows by COUNTS.
    """
    for row in range(len(borders)):
        border = borders[row]
        _scan(data, offsets[row], border, kinds, machine, ends, out[row])
        out[row, 8], out[row, 9] = out[row, 0], out[row, 1]
        _scan(data, border + 1, offsets[row + 1], kinds, machine, ends, out[row])


@njit(cache=True, nogil=True)
def count_tokens(ids, offsets, hashes, powers, out):
    """Count distinct tokens and bigrams of rows.

    Bigrams are known by the text "one_two", as documented: two that spell the same are one.

    Args:
        ids: of all rows.
        offsets: where each row starts in them, and the last one ends.
        hashes: of tokens, from `spell`.
        powers: of tokens, from `spell`.
        out: rows by COUNTS.
    """
    slots, longest = 16, np.append(np.diff(offsets), 1).max()
    while slots < 2 * longest:
        slots *= 2
    token_row = np.full(len(hashes), -1)
    slot_row, slot_hash = np.full(slots, -1), np.zeros(slots, np.uint64)
    for row in range(len(offsets) - 1):
        start, end = offsets[row], offsets[row + 1]
        tokens = bigrams = 0
        for at in range(start, end):
            if token_row[ids[at]] != row:
                token_row[ids[at]] = row
                tokens += 1
            if at + 1 < end:
                one, two = ids[at], ids[at + 1]
                known = (hashes[one] * BASE + UNDERSCORE) * powers[two] + hashes[two]
                place = np.int64((known * BASE) >> np.uint64(32)) & (slots - 1)
                while slot_row[place] == row and slot_hash[place] != known:
                    place = (place + 1) & (slots - 1)
                if slot_row[place] != row:
                    slot_row[place], slot_hash[place] = row, known
                    bigrams += 1
        out[row, 10], out[row, 11], out[row, 12] = end - start, tokens, bigrams


OTHER, STOP = 0, 1
"""As letters: what is in no word or pattern that is known, and what pyphen sets around a word."""

DOTTED = ord("İ")
"""The one character whose lower case is two: an i, and a dot above it."""

SEED, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
"""Of the 64-bit hash FNV-1a, by which a word is known."""


@njit(cache=True, nogil=True)
def _slot(keys, letters, start, end):
    """Where a word is in the table, or where it would be, and its hash."""
    name = SEED
    for at in range(start, end):
        name = (name ^ np.uint64(letters[at])) * PRIME
    place = np.int64(name ^ (name >> np.uint64(32))) & (len(keys) - 1)
    while keys[place] != 0 and keys[place] != name:
        place = (place + 1) & (len(keys) - 1)
    return place, name


@njit(cache=True, nogil=True)
def insert(keys, values, letters, ends, syllables):
    """Put words, one behind the other, and their syllables into the table."""
    start = 0
    for number in range(len(ends)):
        place, keys[place] = _slot(keys, letters, start, ends[number])
        values[place], start = syllables[number], ends[number]


@njit(cache=True, nogil=True)
def _hyphens(word, end, levels, children, values):
    """How many hyphens a word takes by Liang's patterns (Liang 1983), as pyphen places them.

    Args:
        word: letters between two stops.
        end: of the word, stops included.
        levels: room for as many numbers and one more.
        children: of every node of the tree of patterns, by letter.
        values: what a node's pattern says before, between and behind its letters.
    """
    levels[: end + 1] = 0
    for start in range(end - 1):
        node = 0
        for at in range(start, end):
            node = children[node, word[at]]
            if node == 0:
                break
            for place in range(at - start + 2):
                levels[start + place] = max(levels[start + place], values[node, place])
    number = 0
    for place in range(3, end - 2):  # two letters at least before and behind
        number += levels[place] & 1
    return number


@njit(cache=True, nogil=True)
def _is_kept_apostrophe(data, at, end):
    """Whether the apostrophe before `at` belongs to a contraction: 't, 's, 'd, 've, 'll or 're."""
    one, two = data[at] if at < end else 0, data[at + 1] if at + 1 < end else 0
    if two == ord("e") and (one == ord("v") or one == ord("r")):
        return True
    return one == ord("t") or one == ord("s") or one == ord("d") or one == two == ord("l")


@njit(cache=True, nogil=True)
def count_syllables(data, starts, ends, kinds, letters, tables, words, sentences, syllables):
    r"""Count words, sentences and syllables of texts.

    A word is what white space parts and holds a \w; it is spelled by its \w and its kept
    apostrophes, and has one syllable if none of them is a letter. A sentence is a run from a \w to
    behind the next [.!?]+; those of two words or less are not counted.
    """
    room = np.append(ends - starts, 0).max() + 3  # İ is two letters, and two bytes as well
    keys, values, children, patterns = tables
    spelling, levels = np.full(room, STOP, np.uint8), np.zeros(room, np.uint8)
    for row in range(len(starts)):
        at, end = starts[row], ends[row]
        num_words = num_syllables = num_sentences = num_short = 0
        length, has_letter, has_word = 1, False, False  # of what white space parts
        inside, closing, spoken, said = False, False, False, 0  # of the sentence
        while at <= end:
            char, size = (32, 1) if at == end else code_point(data, at)
            stop = char == 46 or char == 33 or char == 63
            if inside and ((closing and not stop) or at == end):
                said += spoken
                num_sentences += 1
                num_short += said <= 2
                inside = False
            if kinds[char] & WORD:
                if not inside:
                    inside, closing, said = True, False, 0
                spoken = has_word = True
                spelling[length] = letters[char]
                has_letter |= letters[char] != OTHER
                length += 1
                if char == DOTTED:
                    spelling[length] = OTHER
                    length += 1
            elif kinds[char] & SPACE:
                said += spoken
                spoken = False
                num_words += has_word
                num_syllables += has_word and not has_letter
                if has_letter:
                    place, _ = _slot(keys, spelling, 1, length)
                    if keys[place] != 0:
                        num_syllables += values[place]
                    else:
                        spelling[length] = STOP
                        hyphens = _hyphens(spelling, length + 1, levels, children, patterns)
                        num_syllables += hyphens + 1
                length, has_letter, has_word = 1, False, False
            elif stop:
                closing = True
            elif char == 39 and _is_kept_apostrophe(data, at + 1, end):
                spelling[length] = letters[char]
                length += 1
            at += size
        words[row], syllables[row] = num_words, num_syllables
        sentences[row] = 0 if starts[row] == end else max(1, num_sentences - num_short)
