"""The live turn in a notebook's output: an anywidget, its messages, and who is asked on it.

`page` decides what is sent and what a person's clicks mean; `model` is the widget itself;
`routing` gets its messages through while the cell that shows it is still running; `dropping`
remembers which waiting cells are not to run. How it looks is ``static/turn.js``'s.
"""
