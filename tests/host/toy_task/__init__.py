"""The smallest S3PRL task: two classes of noise, and a record of the random numbers seen in training."""
