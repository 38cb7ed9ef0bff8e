"""How to install the libraries of an extra, for messages about one that is missing.

The command names the libraries themselves, as the metadata of the installed package list them: edge-app comes from a
checkout, a wheel or a bundle, and `pip install 'edge-app[web]'` would look for it in an index that need not have it.
"""

from __future__ import annotations

import re

_EXTRA = re.compile(r"""\s*(?:and\s+)?\(?extra == ['"]([\w.-]+)['"]\)?\s*""")


def install(extra: str, package: str = "edge-app") -> str:
    """`pip install 'aiohttp>=3.8.4' 'prometheus_client>=0.16'` for the extra `web`.

    Names the extra of the package if its metadata do not list libraries for it, as in a camera's release.
    """
    import importlib.metadata  # 20 ms, 2 MB: only for a message

    try:
        requirements = importlib.metadata.requires(package) or []
    except importlib.metadata.PackageNotFoundError:
        requirements = []
    libraries, conditions = [], []
    for requirement in requirements:
        library, _, marker = requirement.partition(";")
        of = _EXTRA.search(marker)
        if of is not None and of[1] == extra:
            libraries.append(library.strip())
            conditions += [text for text in [_EXTRA.sub("", marker).strip()] if text]
    if not libraries:
        return f"pip install '{package}[{extra}]'" if package != "edge-app" else f"the libraries of the extra {extra}"
    only = f" (where {' and '.join(dict.fromkeys(conditions))})" if conditions else ""
    return f"pip install {' '.join(f'{chr(39)}{library}{chr(39)}' for library in libraries)}{only}"
