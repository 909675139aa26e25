"""The knowledge agent: takes documents in, finds the passages that answer a question, and names their sources.

document -> reader -> sections -> chunks -> vectors -> store
question -> nearest vectors and best words -> one ranking -> passages, and an answer that quotes them

Reading, chunking and ranking are pure; ``library.py`` joins them with a store, ``ingest.py`` and ``answer.py`` with
models and the bus.
"""
