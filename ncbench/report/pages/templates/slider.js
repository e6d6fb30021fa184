// Shows one frame of a sequence: the slider's value is the number of the frame.
for (const sequence of document.querySelectorAll("[data-frames]")) {
  const slider = sequence.querySelector("input");
  const label = sequence.querySelector("output");
  const frames = [...sequence.querySelectorAll("[data-step]")];
  const show = () => {
    frames.forEach((frame, i) => { frame.hidden = i !== slider.valueAsNumber; });
    label.textContent = frames[slider.valueAsNumber].dataset.step;
  };
  slider.addEventListener("input", show);
  show();
}
