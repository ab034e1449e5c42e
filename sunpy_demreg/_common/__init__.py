"""What several rooms need, and what needs none of them."""
