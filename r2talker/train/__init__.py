"""A dataset becomes an avatar: phases head, torso and motion, their losses and schedules."""
