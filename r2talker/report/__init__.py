"""What every report is made of: curves, tables of pictures, and one page that opens offline."""
