"""What a training reads: decoded images, augmented images, features of a frozen backbone."""
