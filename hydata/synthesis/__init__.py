"""The steps that make data with models, and the two judges that belong to them.

``generate``, ``evolve``, ``self_instruct`` and ``respond`` write conversations; ``critique``,
``agreement`` and ``label`` write judgements. Each module ends with its ``STAGE``. What they share:
``drafts`` (asking a model for an instruction), ``text`` (cleaning and checking what comes back),
``answers`` (final answers of objective questions).
"""
