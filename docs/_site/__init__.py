"""What builds the site: a Markdown extension, a griffe extension, the figures, and a thin hook that joins them.

None of it is part of the site itself, nor of the package: `mkdocs.yml` excludes this folder from the pages.
"""
