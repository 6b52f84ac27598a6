"""Reading scans, resampling them to the common grid, and inspecting a folder of scans."""
