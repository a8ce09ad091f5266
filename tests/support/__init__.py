"""Parts that tests share, and programs to run by hand: no tests of their own."""
