"""The words of a text, as a search compares them."""

import re
from typing import Final

# Function words of English. Where there are many passages their rareness hardly counts; among some hundred it decides
# (of 30 questions about this project's documents 29 found their section, and 28 where these words were looked for too).
_FUNCTION_WORDS: Final = re.compile(
    "a|about|an|and|any|are|as|at|be|been|but|by|can|could|did|do|does|for|from|had|has|have|how|i|if|in|into|is|it|its"
    "|may|me|my|no|not|of|on|or|our|should|so|than|that|the|their|them|then|there|these|they|this|to|was|we|were|what"
    "|when|where|which|who|why|will|with|would|you|your"
)


def words_of(text: str) -> list[str]:
    """In lower case, in order, repeated where the text repeats them."""
    return re.findall(r"\w+", text.lower())


def query_words(text: str) -> list[str]:
    """The words to look for, each once: those that say something, or all if none does."""
    words = list(dict.fromkeys(words_of(text)))
    return [word for word in words if _FUNCTION_WORDS.fullmatch(word) is None] or words
