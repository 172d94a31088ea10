"""Other people's code under the book's checks: published bugs, printed mistakes, other libraries."""
