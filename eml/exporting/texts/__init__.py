"""The text tower of an exported model of images and texts: its graph, its tokenizer and their proof."""
