"""What several rooms need, and that needs none of them."""
