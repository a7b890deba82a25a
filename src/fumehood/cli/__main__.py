"""``python -m fumehood.cli``, where the command ``fumehood`` is not on the path."""

from fumehood.cli import main

if __name__ == "__main__":
    main()
